/**
 * Loading a process's modules grows V8's young generation to 32 MiB, which an idle process never gives back.
 * Measured on an idle agent run from sources: 158 MiB resident without this, 122 MiB with it; it takes 0.2 s once.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: {
  readonly type: 'major';
  readonly execution: 'sync';
  readonly flavor: 'last-resort';
}) => void;

/** Collects what starting left behind and shrinks the heap. To be called once, before the process says it is ready. */
export function releaseStartupMemory(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as Collect | undefined;
  setFlagsFromString('--no-expose-gc');
  collect?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
