import type { Clock } from '@moat/core';
import type { Route } from '../routes/snapshot.ts';

export interface ServedDeps {
  readonly clock: Clock;
  onServed(host: string): void;
}

/** A lease lasts a day at least. */
const SERVED_EVERY_MS = 3_600_000;

/** A service answered under this route's host: told at most once an hour. */
export function tellServed(deps: ServedDeps, { host, usage }: Route): void {
  const now = deps.clock.now();
  if (now - usage.servedToldMs < SERVED_EVERY_MS) return;
  usage.servedToldMs = now;
  deps.onServed(host);
}
