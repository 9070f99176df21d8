/** The commands of the program as completion needs them. */
import type { Command } from 'commander';

/** One command with what may stand behind it. */
export interface CompletionNode {
  /** `moat gateway suspend` */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly flags: readonly { readonly flag: string; readonly summary: string }[];
  /** Words for the first argument, where its usage lists them: `<node|gateway>`. */
  readonly words: readonly string[];
}

/** Every command, the program itself first. */
export function completionTree(program: Command): CompletionNode[] {
  return nodesOf(program, program.name());
}

function nodesOf(command: Command, path: string): CompletionNode[] {
  const helper = command.createHelp();
  const commands = helper.visibleCommands(command).filter((sub) => sub.name() !== 'help');
  const flags = helper
    .visibleOptions(command)
    .flatMap(({ long, description }) => (typeof long === 'string' ? [{ flag: long, summary: description }] : []));
  const first = command.registeredArguments[0]?.name() ?? '';
  const node = {
    path,
    commands: commands.map((sub) => ({ name: sub.name(), summary: sub.description() })),
    flags,
    words: first.includes('|') ? first.split('|') : [],
  };
  return [node, ...commands.flatMap((sub) => nodesOf(sub, `${path} ${sub.name()}`))];
}
