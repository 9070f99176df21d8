/** This machine's time, never below the newest time that a signature proved and the disk kept. */
import type { Clock, Timer } from '@moat/core';

export interface LocalTimeDeps {
  readonly clock: Clock;
  readonly store: { verifiedTime(): number; saveVerifiedTime(timeMs: number): void };
}

/** A clock that was set back does not give an expired grant back. */
export class LocalTime implements Clock {
  readonly #deps: LocalTimeDeps;
  #verifiedMs: number;

  constructor(deps: LocalTimeDeps) {
    this.#deps = deps;
    this.#verifiedMs = deps.store.verifiedTime();
  }

  now(): number {
    return Math.max(this.#deps.clock.now(), this.#verifiedMs);
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#deps.clock.after(delayMs, callback);
  }

  /**
   * The machine's own time, against which a claimed time is held: else hostile witnesses could push us on,
   * five minutes at a time.
   */
  get unadjusted(): number {
    return this.#deps.clock.now();
  }

  /** Takes the time of a verified witness (milliseconds since 1970) into account. Call inside its transaction. */
  verified(timeMs: number): void {
    if (timeMs <= this.#verifiedMs) return;
    this.#deps.store.saveVerifiedTime(timeMs);
    this.#verifiedMs = timeMs;
  }
}
