/** What is measured: a path from a client to a service, Moat's or another's. */
import type { BenchContext } from './context.ts';

export interface Target {
  /** Where it listens, seen from the namespace of the client. */
  readonly address: string;
  readonly port: number;
  /** Name asked for: SNI and Host. */
  readonly hostname: string;
  /** PEM that its certificate chains to; only of https. */
  readonly ca?: string;
  /** Namespace the client runs in; the harness's own when absent. */
  readonly namespace?: string;
}

/** What a client can speak to a subject. */
export type Protocol = 'https' | 'http' | 'tcp';

export interface RunningSubject extends AsyncDisposable {
  /** Where clients connect, by protocol; only what this subject offers. */
  readonly targets: Readonly<Partial<Record<Protocol, Target>>>;
  /**
   * Processes whose CPU time and memory count as the path's, their descendants included; never the service.
   * Those of the way that `protocol` takes. @defaultValue https
   */
  pids(protocol?: Protocol): readonly number[];
}

export interface Subject {
  /** As in the `subject` column, such as `nginx+nebula`. */
  readonly name: string;
  /** Why it cannot run on this machine; it is skipped with that line. */
  missing(): Promise<string | undefined>;
  /** Starts it. What it spawned before it failed ends with the context. */
  start(context: BenchContext): Promise<RunningSubject>;
}

/** The target of `protocol`. */
export function targetOf(running: RunningSubject, protocol: Protocol): Target {
  const target = running.targets[protocol];
  if (!target) throw new Error(`no ${protocol} target`);
  return target;
}
