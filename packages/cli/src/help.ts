/** Help: what it does, examples first, then flags. */
import type { Command, Help, Option } from 'commander';
import type { Io } from './io.ts';
import { createStyle, type Style } from './output/style.ts';
import { renderTable, widthOf } from './output/table.ts';
import { examplesOf } from './verb.ts';

/** Commander's `formatHelp`. */
export function formatHelp(io: Pick<Io, 'stdout'>): (command: Command, helper: Help) => string {
  const style = createStyle(io.stdout);
  return (command, helper) => {
    const sections = [
      `${style.bold(nameOf(command))}  ${command.description()}`,
      renderExamples(command, style),
      renderUsage(command, style),
      renderCommands(command, helper, style),
      renderOptions(helper.visibleOptions(command), style),
    ];
    return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
  };
}

/** `moat key new` */
export function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

function renderExamples(command: Command, style: Style): string {
  const examples = examplesOf.get(command) ?? [];
  if (examples.length === 0) return '';
  const short = examples.every(([line]) => widthOf(line) <= 56);
  if (short)
    return renderTable(
      examples.map(([line, does]) => [style.accent(line), style.dim(does)]),
      { indent: 2 },
    );
  return examples.map(([line, does]) => `  ${style.dim(`# ${does}`)}\n  ${style.accent(line)}`).join('\n');
}

function renderUsage(command: Command, style: Style): string {
  const args = command.registeredArguments.map((argument) => {
    const name = argument.name() + (argument.variadic ? '…' : '');
    return argument.required ? `<${name}>` : `[${name}]`;
  });
  const isVerb = examplesOf.has(command);
  const word = isVerb ? '[command]' : '<command>';
  const tail = [...(command.commands.length > 0 ? [word] : args), ...(isVerb ? ['[options]'] : [])];
  return `${style.bold('Usage')}  ${[nameOf(command), ...tail].join(' ')}`;
}

function renderCommands(command: Command, helper: Help, style: Style): string {
  const groups = new Map<string, (readonly [string, string])[]>();
  for (const sub of helper.visibleCommands(command)) {
    if (sub.name() === 'help') continue;
    const heading = sub.helpGroup() || 'Commands';
    const rows = groups.get(heading) ?? [];
    groups.set(heading, [...rows, [style.accent(commandTerm(sub)), sub.description()]]);
  }
  if (groups.size === 0) return '';
  const width = Math.max(...[...groups.values()].flat().map(([term]) => widthOf(term)));
  const rendered = [...groups].map(
    ([heading, rows]) =>
      `${style.bold(heading)}\n${renderTable(
        rows.map(([term, does]) => [term + ' '.repeat(width - widthOf(term)), does]),
        { indent: 2 },
      )}`,
  );
  const more =
    command.parent === null
      ? `\n\n  ${style.dim('moat help VERB shows examples and flags; where it says …, one more word')}`
      : '';
  return rendered.join('\n\n') + more;
}

function commandTerm(command: Command): string {
  if (command.commands.length > 0) return `${command.name()} …`;
  return [command.name(), ...command.registeredArguments.map((argument) => argument.name().toUpperCase())].join(' ');
}

function renderOptions(options: readonly Option[], style: Style): string {
  if (options.length === 0) return '';
  const rows = options.map((option) => {
    const preset = typeof option.defaultValue === 'string' ? style.dim(` (${option.defaultValue})`) : '';
    return [style.accent(option.flags), option.description + preset];
  });
  return `${style.bold('Options')}\n${renderTable(rows, { indent: 2 })}`;
}
