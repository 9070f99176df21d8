/** Runs scenarios: starts the subjects of each group, measures in rounds, ends everything. */
import { availableParallelism } from 'node:os';
import { BenchContext } from './context.ts';
import { LoadGate } from './gate.ts';
import type { Report } from './report.ts';
import { rowsOf, runRounds, type RoundsResult } from './rounds.ts';
import type { Scenario } from './scenario.ts';
import type { RunningSubject, Subject } from './subject.ts';

export interface BenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** Of load that each subject gets once, before all measurements. */
  readonly firstSeconds: number;
  /** Seconds spent on waiting for quiet and on repeating, in all. */
  readonly patienceSeconds: number;
  /** Only these subjects, when given. */
  readonly subjects?: readonly string[];
  /** Keeps every core busy with work that gives way to any other, so that none sleeps. */
  readonly awake: boolean;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/** Measures `scenarios` in their order. A subject that cannot start or fails is reported; the others go on. */
export async function runBench(scenarios: readonly Scenario[], options: BenchOptions): Promise<Report> {
  const gate = new LoadGate(options);
  const results: RoundsResult[] = [];
  const skipped = new Set<string>();
  const broken = new Set<string>();
  for (const group of groupsOf(scenarios)) {
    await using context = await BenchContext.create(options.signal);
    if (options.awake) keepAwake(context);
    const running = new Map<string, RunningSubject>();
    try {
      for (const subject of group[0]?.subjects ?? []) {
        if (options.subjects && !options.subjects.includes(subject.name)) continue;
        const missing = await subject.missing();
        if (missing !== undefined) {
          options.say(`${subject.name}: skipped: ${missing}`);
          skipped.add(`${subject.name}: ${missing}`);
          continue;
        }
        const started = await startSubject(subject, context, options);
        if (typeof started === 'string') broken.add(`${subject.name}: ${started}`);
        else running.set(subject.name, started);
      }
      await warmUp(group, running, options);
      for (const scenario of group) results.push(await measure(scenario, running, gate, options));
    } finally {
      for (const subject of [...running.values()].toReversed()) await end(subject, options);
    }
  }
  return {
    rows: results.flatMap(({ scenario, values }) => rowsOf(scenario, values)),
    scenarios: results,
    skipped: [...skipped],
    broken: [...broken],
  };
}

/** It, or why it did not start. */
async function startSubject(
  subject: Subject,
  context: BenchContext,
  { signal, say }: BenchOptions,
): Promise<RunningSubject | string> {
  signal.throwIfAborted();
  say(`${subject.name}: starting`);
  try {
    return await abortable(subject.start(context), signal);
  } catch (error) {
    signal.throwIfAborted();
    const reason = error instanceof Error ? error.message : String(error);
    say(`${subject.name}: did not start: ${reason}`);
    return reason.split('\n')[0] ?? '';
  }
}

/** Some load for each that does not count: programs that compile while they run take seconds to reach their pace. */
async function warmUp(
  group: readonly Scenario[],
  running: ReadonlyMap<string, RunningSubject>,
  options: BenchOptions,
): Promise<void> {
  const scenario = group.find(({ name }) => name.endsWith('/c64')) ?? group[0];
  for (const [name, subject] of running) {
    options.signal.throwIfAborted();
    try {
      await scenario?.measure(subject, { ...options, seconds: options.firstSeconds });
    } catch (error) {
      // The rounds show whether it stays so.
      options.say(`${name}: failed while it warmed up: ${String(error)}`);
    }
  }
}

function measure(
  scenario: Scenario,
  running: ReadonlyMap<string, RunningSubject>,
  gate: LoadGate,
  options: BenchOptions,
): Promise<RoundsResult> {
  return runRounds({
    scenario: scenario.name,
    subjects: [...running.keys()],
    rounds: scenario.rounds ?? options.rounds,
    measure: (name) => {
      const subject = running.get(name);
      if (!subject) throw new Error(`${name} does not run`);
      return scenario.measure(subject, options);
    },
    gate,
    signal: options.signal,
    say: options.say,
  });
}

/** One a core; they end with the context. */
function keepAwake({ programs }: BenchContext): void {
  for (let core = 0; core < availableParallelism(); core++) {
    programs.start('chrt', ['--idle', '0', 'sh', '-c', 'while :; do :; done']);
  }
}

async function end(subject: RunningSubject, { say }: BenchOptions): Promise<void> {
  try {
    await subject[Symbol.asyncDispose]();
  } catch (error) {
    // The context ends its processes.
    say(`a subject did not end in order: ${String(error)}`);
  }
}

/** Neighbours that name the same subjects. */
function groupsOf(scenarios: readonly Scenario[]): Scenario[][] {
  const groups: Scenario[][] = [];
  for (const scenario of scenarios) {
    const last = groups.at(-1);
    if (last?.[0]?.subjects === scenario.subjects) last.push(scenario);
    else groups.push([scenario]);
  }
  return groups;
}

/** Does not wait for a start that nobody wants any more; what it spawned ends with the context. */
async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => undefined);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
