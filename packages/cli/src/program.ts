/** The command tree, and one run of it: parse, act, say what came out, exit code. */
import { MoatError } from '@moat/core';
import { Command, CommanderError } from 'commander';
import { addVerbs } from './commands/all.ts';
import { createContext } from './context.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { formatHelp } from './help.ts';
import { Interrupted, type Io } from './io.ts';
import { errorBody, renderError } from './output/render-error.ts';
import { createStyle } from './output/style.ts';
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
  try {
    const program = createProgram(io, runner, version);
    if (args.length === 0) {
      io.stdout.write(program.helpInformation());
      return EXIT.done;
    }
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    return report(io, error, json);
  }
}

/** Every command with its flags and examples; nothing runs before it is told to parse. */
export function createProgram(io: Pick<Io, 'stdout'>, runner: VerbRunner, version: string): Command {
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
  addVerbs(program, runner);
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
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.done;
    return report(io, usageError(error), json);
  }
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

/** Commander's sentence and suggestion in our form. */
function usageError(error: CommanderError): MoatError {
  const [message = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  if (error.code === 'commander.help') {
    return new MoatError('USAGE', 'a command is missing', { next: ['moat --help'] });
  }
  const suggestion = /\(Did you mean (?:one of )?(.+)\?\)/.exec(rest.join(' '))?.[1];
  const next = suggestion === undefined ? [] : [`did you mean ${suggestion}?`];
  return new MoatError('USAGE', message, { next: [...next, 'moat help shows every command and flag'] });
}

function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return (end < 0 ? args : args.slice(0, end)).includes('--json');
}
