/**
 * How a verb is declared and run: commander parses, the verb returns an outcome, and this file turns the
 * outcome or the error into output and an exit code. Every verb gets `--json`.
 */
import { Option, type Command } from 'commander';
import type { Context } from './context.ts';

/** What a verb has to say. */
export interface Outcome {
  /** Names the shape of `data` in `--json`. */
  readonly kind: string;
  readonly data: unknown;
  /** For people, on stdout; without a last newline. */
  readonly text?: string;
  /** @defaultValue 0 */
  readonly exitCode?: number;
  /** The verb has written its own output. */
  readonly silent?: boolean;
}

export interface VerbOption {
  /** As commander writes it: `--expires <time>`. */
  readonly flags: string;
  readonly text: string;
  /** Variable that stands in when the flag is absent. */
  readonly env?: string;
  readonly preset?: string;
  /** May be given several times. */
  readonly list?: boolean;
}

export interface VerbSpec {
  /** As commander writes it: `invite [member]`. */
  readonly usage: string;
  readonly summary: string;
  /** Heading in `moat help`; only for top-level verbs. */
  readonly group?: string;
  /** Command lines with what they do, best first. */
  readonly examples: readonly (readonly [line: string, does: string])[];
  readonly options?: readonly VerbOption[];
  /** Arguments behind `--` belong to another program. */
  readonly passThrough?: boolean;
  /** Asks the first node of a running `moat dev` when this machine has no agent. */
  readonly orDev?: boolean;
}

export type VerbAction<O> = (context: Context, args: readonly string[], options: O) => Promise<Outcome>;

/** Runs an action with its context and reports it; given by the program. */
export type VerbRunner = (
  command: Command,
  spec: VerbSpec,
  run: (context: Context) => Promise<Outcome>,
) => Promise<void>;

/** Examples of each command, for its help. */
export const examplesOf: WeakMap<Command, VerbSpec['examples']> = new WeakMap();

/** Adds a verb to `parent`. */
export function addVerb<O extends object>(
  parent: Command,
  runner: VerbRunner,
  spec: VerbSpec,
  action: VerbAction<O>,
): Command {
  const command = parent.command(spec.usage).description(spec.summary);
  if (spec.group !== undefined) command.helpGroup(spec.group);
  examplesOf.set(command, spec.examples);
  for (const option of spec.options ?? []) command.addOption(toOption(option));
  command.addOption(new Option('--json', 'one JSON object on stdout'));
  if (spec.passThrough === true) command.passThroughOptions();
  command.action(async (...received: unknown[]) => {
    const args = received
      .slice(0, -2)
      .flat()
      .filter((arg): arg is string => typeof arg === 'string');
    await runner(command, spec, (context) => {
      fillFromEnvironment(command, spec.options ?? [], context.io.env);
      return action(context, args, command.opts<O>());
    });
  });
  return command;
}

/** Adds a word that only leads to verbs, such as `moat key`. */
export function addGroup(parent: Command, name: string, summary: string, helpGroup?: string): Command {
  const command = parent.command(name).description(summary);
  if (helpGroup !== undefined) command.helpGroup(helpGroup);
  return command;
}

function toOption(spec: VerbOption): Option {
  const option = new Option(spec.flags, spec.env === undefined ? spec.text : `${spec.text} [${spec.env}]`);
  if (spec.list === true) {
    option.default([] as string[], 'none');
    option.argParser((value: string, all: string[]) => [...all, value]);
  } else if (spec.preset !== undefined) option.default(spec.preset);
  return option;
}

/** Flags win over the environment, the environment over defaults. */
function fillFromEnvironment(command: Command, options: readonly VerbOption[], env: Context['io']['env']): void {
  for (const { flags, env: variable } of options) {
    const value = variable === undefined ? undefined : env[variable];
    if (value === undefined || value === '') continue;
    const name = new Option(flags).attributeName();
    if (command.getOptionValueSource(name) !== 'cli') command.setOptionValueWithSource(name, value, 'env');
  }
}
