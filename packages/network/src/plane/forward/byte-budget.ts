import type { Clock } from '@moat/core';

/** So many bytes a second on average, and a quarter of a second's worth at once; what is beyond is dropped, not delayed. */
export class ByteBudget {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #most: number;
  #left: number;
  #at: number;

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#most = perSecond / 4;
    this.#left = this.#most;
    this.#at = clock.now();
  }

  /** False when they are not to be had now; nothing is taken then. */
  take(bytes: number): boolean {
    const now = this.#clock.now();
    this.#left = Math.min(this.#most, this.#left + (Math.max(0, now - this.#at) * this.#perSecond) / 1000);
    this.#at = now;
    if (this.#left < bytes) return false;
    this.#left -= bytes;
    return true;
  }
}
