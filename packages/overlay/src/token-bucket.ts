import type { Clock } from '@moat/core';

/** Allows `perSecond` on average and one second's worth at once. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #perSecond: number;
  #tokens: number;
  #at: number;

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
    this.#at = clock.now();
  }

  /** Takes `amount`, on credit if need be; returns the milliseconds to wait until the credit is paid back. */
  take(amount: number): number {
    const now = this.#clock.now();
    this.#tokens = Math.min(this.#perSecond, this.#tokens + (Math.max(0, now - this.#at) * this.#perSecond) / 1000);
    this.#at = now;
    this.#tokens -= amount;
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens * 1000) / this.#perSecond);
  }
}
