/** The command tree, and one run of it: parse, act, say what came out, exit code. */
import { MoatError } from '@moat/core';
import { Command, CommanderError } from 'commander';
import { addVerbs } from './commands/all.ts';
import { createContext } from './context.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { formatHelp, nameOf } from './help.ts';
import { Interrupted, type Io } from './io.ts';
import { errorBody, renderError } from './output/render-error.ts';
import { createStyle } from './output/style.ts';
import { renderTable } from './output/table.ts';
import type { Outcome, VerbRunner } from './verb.ts';

/** The number in `{"kind","version","data"}`: raised when a `data` changes incompatibly. */
const JSON_VERSION = 1;

/**
 * Runs one command line and returns its exit code; never throws.
 * @param args without `node` and the script.
 */
export async function runCommand(args: readonly string[], io: Io, version: string): Promise<number> {
  const json = wantsJson(args);
  let exitCode: number = EXIT.done;
  const runner: VerbRunner = async (command, spec, run) => {
    const context = createContext(io, { ...command.opts(), orDev: spec.orDev === true });
    const outcome = await run(context);
    print(io, outcome, context.json);
    exitCode = outcome.exitCode ?? EXIT.done;
  };
  const program = await createProgram(io, runner, version, args[0]);
  try {
    if (args.length === 0) {
      io.stdout.write(program.helpInformation());
      return EXIT.done;
    }
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    return report(io, error instanceof CommanderError ? usageError(error, addressed(program, args)) : error, json);
  }
}

/**
 * Every command with its flags and examples; nothing runs before it is told to parse.
 * @param first the first word of the command line: where it is a verb, that one alone is there.
 */
export async function createProgram(
  io: Pick<Io, 'stdout'>,
  runner: VerbRunner,
  version: string,
  first?: string,
): Promise<Command> {
  const program = new Command('moat');
  program
    .description('private networks of workloads, and public names for what you choose')
    .version(`moat ${version} (node ${process.versions.node})`, '--version', 'which Moat and which Node')
    .helpOption('-h, --help', 'this help')
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .configureHelp({ formatHelp: formatHelp(io) })
    .configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: () => undefined })
    .exitOverride();
  await addVerbs(program, runner, first);
  inheritSettings(program);
  return program;
}

/** Commander copies settings to a subcommand when it is made, but not the overrides made on its parent later. */
function inheritSettings(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent);
    inheritSettings(command);
  }
}

function print(io: Io, outcome: Outcome, json: boolean): void {
  if (outcome.silent === true) return;
  if (json) io.stdout.write(`${JSON.stringify({ kind: outcome.kind, version: JSON_VERSION, data: outcome.data })}\n`);
  else if (outcome.text !== undefined && outcome.text !== '') io.stdout.write(`${outcome.text}\n`);
}

function report(io: Io, error: unknown, json: boolean): number {
  if (error instanceof Interrupted || io.signal.aborted) {
    const reason: unknown = io.signal.reason ?? error;
    return reason instanceof Interrupted && reason.signalName === 'SIGTERM' ? EXIT.terminated : EXIT.interrupted;
  }
  const body = errorBody(error);
  if (json) io.stderr.write(`${JSON.stringify({ error: body })}\n`);
  else io.stderr.write(`${renderError(body, createStyle(io.stderr))}\n`);
  if (io.env['MOAT_DEBUG'] === '1' && error instanceof Error) io.stderr.write(`${error.stack ?? ''}\n`);
  return exitCodeOf(body.code);
}

/** The deepest command that the words lead to. */
function addressed(program: Command, args: readonly string[]): Command {
  let command = program;
  for (const word of args) {
    const next = command.commands.find((sub) => sub.name() === word);
    if (next === undefined) break;
    command = next;
  }
  return command;
}

/** Commander's sentence and suggestion in our form. */
function usageError(error: CommanderError, command: Command): MoatError {
  const [message = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  if (error.code === 'commander.help') {
    // `moat help nope`
    const [unknown] = command.parent === null ? command.args.slice(1) : [];
    if (unknown !== undefined) {
      return new MoatError('USAGE', `unknown command '${unknown}'`, { next: ['moat help   lists the commands'] });
    }
    return new MoatError('USAGE', `${nameOf(command)} needs one more word`, {
      next: renderTable(command.commands.map((sub) => [nameOf(sub), sub.description()])).split('\n'),
    });
  }
  const suggestion = /\(Did you mean (?:one of )?(.+)\?\)/.exec(rest.join(' '))?.[1];
  const next = suggestion === undefined ? [] : [`did you mean ${suggestion}?`];
  const help =
    command.parent === null
      ? 'moat help   lists the commands'
      : `${nameOf(command)} --help   shows its arguments and flags`;
  return new MoatError('USAGE', message, { next: [...next, help] });
}

function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return (end < 0 ? args : args.slice(0, end)).includes('--json');
}
