import type { Clock, Timer } from '@moat/core';

/** A clock that stands still until a test moves it. */
export interface ManualClock extends Clock {
  /** Timers that wait. */
  readonly pending: number;
  /** Moves time on by `milliseconds` and runs what falls due, in order of time. */
  advance(milliseconds: number): void;
}

interface Entry {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A {@link ManualClock} that begins at `start`, milliseconds since the Unix epoch. */
export function createManualClock(start: number = Date.UTC(2026, 0, 1)): ManualClock {
  const entries = new Set<Entry>();
  let now = start;
  let order = 0;
  const nextDue = (until: number): Entry | undefined => {
    let due: Entry | undefined;
    for (const entry of entries) {
      if (entry.at > until) continue;
      if (due === undefined || entry.at < due.at || (entry.at === due.at && entry.order < due.order)) due = entry;
    }
    return due;
  };
  return {
    get pending() {
      return entries.size;
    },
    now: () => now,
    after(delayMs, callback): Timer {
      const entry: Entry = { at: now + Math.max(0, delayMs), order: order++, callback };
      entries.add(entry);
      return { cancel: () => void entries.delete(entry) };
    },
    advance(milliseconds) {
      const until = now + milliseconds;
      for (let due = nextDue(until); due !== undefined; due = nextDue(until)) {
        entries.delete(due);
        now = due.at;
        due.callback();
      }
      now = until;
    },
  };
}
