/** Interleaved rounds: every subject is measured once a round, so that what disturbs one disturbs its neighbours too. */
import type { LoadGate } from './gate.ts';
import type { Values } from './scenario.ts';
import { median } from './statistics.ts';

/** The subject others are compared with. */
const REFERENCE = 'moat';

export interface Row {
  readonly scenario: string;
  readonly subject: string;
  readonly metric: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Moat's value divided by this subject's, paired round by round; absent on Moat's own rows. */
  readonly moatRatio?: number;
}

export interface RoundsPlan {
  readonly scenario: string;
  readonly subjects: readonly string[];
  readonly rounds: number;
  readonly measure: (subject: string) => Promise<Values>;
  readonly gate: Pick<LoadGate, 'run'>;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export interface RoundsResult {
  readonly scenario: string;
  /** One entry a round, of the subjects that stood all rounds. */
  readonly values: ReadonlyMap<string, readonly Values[]>;
  /** Subject to what went wrong. */
  readonly failed: ReadonlyMap<string, string>;
  /** Most cores that others used during a measurement that counts. */
  readonly otherCores: number;
  readonly repeated: number;
}

/** The order of a round: each subject is first in its turn, and the rest changes direction so that neighbours differ. */
export function orderOf<T>(subjects: readonly T[], round: number): T[] {
  const start = subjects.length === 0 ? 0 : round % subjects.length;
  const rest = [...subjects.slice(start + 1), ...subjects.slice(0, start)];
  return [...subjects.slice(start, start + 1), ...(round % 2 === 0 ? rest : rest.toReversed())];
}

/** Measures all subjects `rounds` times. One that fails is out of this scenario; the others go on. */
export async function runRounds(plan: RoundsPlan): Promise<RoundsResult> {
  const values = new Map<string, Values[]>(plan.subjects.map((subject) => [subject, []]));
  const failed = new Map<string, string>();
  let otherCores = 0;
  let repeated = 0;
  for (let round = 0; round < plan.rounds; round++) {
    for (const subject of orderOf(plan.subjects, round)) {
      plan.signal.throwIfAborted();
      if (failed.has(subject)) continue;
      const what = `${plan.scenario} round ${round + 1}/${plan.rounds} ${subject}`;
      try {
        const gated = await plan.gate.run(what, () => plan.measure(subject));
        values.get(subject)?.push(gated.value);
        otherCores = Math.max(otherCores, gated.otherCores);
        repeated += gated.repeated;
        plan.say(`${what}: ${summary(gated.value)}`);
      } catch (error) {
        plan.signal.throwIfAborted();
        const reason = error instanceof Error ? error.message : String(error);
        failed.set(subject, reason);
        values.delete(subject);
        plan.say(`${what}: failed: ${reason}`);
      }
    }
  }
  return { scenario: plan.scenario, values, failed, otherCores, repeated };
}

/** Medians and spread, and how Moat compares, round by round. */
export function rowsOf(scenario: string, values: ReadonlyMap<string, readonly Values[]>): Row[] {
  const ours = values.get(REFERENCE);
  return [...values].flatMap(([subject, rounds]) =>
    Object.keys(rounds[0] ?? {}).map((metric): Row => {
      const series = rounds.map((each) => each[metric] ?? Number.NaN);
      const ratios = series.flatMap((value, round) => {
        const our = ours?.[round]?.[metric];
        return our === undefined || value === 0 ? [] : [our / value];
      });
      return {
        scenario,
        subject,
        metric,
        median: median(series),
        min: Math.min(...series),
        max: Math.max(...series),
        ...(subject === REFERENCE || ratios.length === 0 ? {} : { moatRatio: median(ratios) }),
      };
    }),
  );
}

function summary(values: Values): string {
  return Object.entries(values)
    .map(([metric, value]) => `${metric} ${value.toPrecision(4)}`)
    .join(', ');
}
