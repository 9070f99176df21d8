import type { Clock } from '@moat/core';

/** How often something may happen. */
export interface Rate {
  readonly perSecond: number;
  /** How many at once after a quiet time. */
  readonly burst: number;
}

/** A token bucket; time is read only when it seems empty, so that the usual case costs one subtraction. */
export class RateLimit {
  readonly #clock: Clock;
  readonly #rate: Rate;
  #tokens: number;
  #filledAt: number;

  constructor(clock: Clock, rate: Rate) {
    this.#clock = clock;
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#filledAt = clock.now();
  }

  /** False when it happens too often. */
  allow(): boolean {
    if (this.#tokens < 1) {
      this.#fill();
      if (this.#tokens < 1) return false;
    }
    this.#tokens -= 1;
    return true;
  }

  /** Takes `amount`, on credit if need be; returns the milliseconds until the credit is paid back. */
  debit(amount: number): number {
    this.#tokens -= amount;
    if (this.#tokens >= 0) return 0;
    this.#fill();
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens / this.#rate.perSecond) * 1000);
  }

  #fill(): void {
    const now = this.#clock.now();
    const earned = (Math.max(0, now - this.#filledAt) / 1000) * this.#rate.perSecond;
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + earned);
    this.#filledAt = now;
  }
}
