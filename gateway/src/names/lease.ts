/** How long a name stays its holder's when no member is connected. Pure. */
import type { NameRecord } from '../store/store.ts';

/** A name that served requests is held this long after its last live member. */
export const HELD_AFTER_SERVED_MS: number = 30 * 24 * 3_600_000;
/** A name that never served is held this long. */
export const HELD_UNSERVED_MS: number = 24 * 3_600_000;

/**
 * When the lease of `name` ends, in milliseconds since the epoch. A gateway that was itself away does not count
 * that time against its names: no lease ends within a day of `startedMs`.
 */
export function leaseEndMs(name: NameRecord, startedMs: number): number {
  const held = name.served ? HELD_AFTER_SERVED_MS : HELD_UNSERVED_MS;
  return Math.max(name.lastLiveMs + held, startedMs + HELD_UNSERVED_MS);
}
