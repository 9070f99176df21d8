/** When a better way is looked for again: ever more rarely. */
import type { Clock, Timer } from '@moat/core';

/** Milliseconds between tries, one after the other. */
const AGAIN_MS = [30_000, 60_000, 120_000, 300_000, 600_000] as const;
/** The same while the peer's agent cannot be asked. */
const UNREACHED_MS = [1_000, 3_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000] as const;

/** What the last try met. */
export type TryEnd = 'tried' | 'unreached';

export class Tries {
  readonly #clock: Clock;
  #count = 0;
  #next: { readonly at: number; readonly timer: Timer } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds since 1970; null = none is planned. */
  get nextAt(): number | null {
    return this.#next?.at ?? null;
  }

  /** Begins with the shortest wait again. */
  reset(): void {
    this.#count = 0;
  }

  /** Calls back once, after the next wait and `laterMs` more; whatever was planned is not done. */
  again(end: TryEnd, laterMs: number, callback: () => void): void {
    const ladder = end === 'tried' ? AGAIN_MS : UNREACHED_MS;
    const delayMs = ladder[Math.min(this.#count, ladder.length - 1)] ?? 0;
    this.#count += 1;
    this.after(delayMs + laterMs, callback);
  }

  /** Calls back once; whatever was planned is not done. */
  after(delayMs: number, callback: () => void): void {
    this.cancel();
    const timer = this.#clock.after(delayMs, () => {
      this.#next = undefined;
      callback();
    });
    this.#next = { at: this.#clock.now() + delayMs, timer };
  }

  cancel(): void {
    this.#next?.timer.cancel();
    this.#next = undefined;
  }
}
