/** A question with a number for an answer, asked of several subjects in turn. */
import type { RunningSubject, Subject } from './subject.ts';

/** Metric to value, such as `rps`, `cpuUsPerRequest`, `p50Ms`, `p99Ms`, `rssMiB`. */
export type Values = Readonly<Record<string, number>>;

export interface MeasureOptions {
  /** Length of the measured window; the warm-up before it comes on top. */
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly signal: AbortSignal;
}

export interface Scenario {
  /** `<e2e|gateway|l4|growth>/<https1|http1|h2|ws|tcp>/<1k|64k|1m>/c<N>`. */
  readonly name: string;
  /** Scenarios that follow each other and name the same array share one start of it. */
  readonly subjects: readonly Subject[];
  /** Whether `--quick` has it too. */
  readonly quick: boolean;
  /** Rounds, where the usual number would be wrong: memory after a growth needs one. */
  readonly rounds?: number;
  /** One measurement. Fails when a single request did. */
  measure(running: RunningSubject, options: MeasureOptions): Promise<Values>;
}
