/** How long ago a keeper last confirmed the head we hold: what `network.maxStale` is held against. */

import type { Notice } from '@moat/admin-api';

/** `aging` from half of `network.maxStale` on; `stale` past it, when nothing may run. */
export type Staleness = 'fresh' | 'aging' | 'stale';

/** What people are told of it; undefined while all is well. */
export function stalenessNotice(staleness: Staleness): Notice | undefined {
  if (staleness === 'fresh') return undefined;
  if (staleness === 'aging') {
    return { code: 'STALE_SOON', message: 'no keeper has confirmed the newest version for half of the time allowed' };
  }
  return {
    code: 'STALE',
    message: 'no keeper has confirmed the newest version for longer than allowed: all is stopped',
  };
}

/** An age as it was at one instant of this machine's time; both in milliseconds. */
export interface AgeMark {
  readonly ageMs: number;
  /** Since 1970. */
  readonly at: number;
}

/**
 * An age that no clock makes younger: a clock set forward adds to it, one set back takes nothing away, and what
 * a timer saw pass counts even then.
 */
export class Freshness {
  #mark: AgeMark;

  constructor(mark: AgeMark) {
    this.#mark = mark;
  }

  /** As of the last time it was confirmed or looked at. */
  get mark(): AgeMark {
    return this.#mark;
  }

  /** Milliseconds. */
  age(now: number): number {
    return this.#mark.ageMs + Math.max(0, now - this.#mark.at);
  }

  /** A timer that began after the last mark ran for `passedMs`. */
  passed(passedMs: number, now: number): void {
    this.#mark = { ageMs: this.#mark.ageMs + Math.max(passedMs, now - this.#mark.at), at: now };
  }

  /** A keeper holds the same head now. */
  confirm(now: number): void {
    this.#mark = { ageMs: 0, at: now };
  }
}
