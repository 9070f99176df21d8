import type { Clock } from '@moat/core';

import { RateLimit } from './rate.ts';
import type { SpliceLimits } from './splice-limits.ts';

/** What one PeerId, or one address, has of an anchor now. */
export interface SpliceAccount {
  /** Pairs given out whose sockets are not joined. */
  pending: number;
  joined: number;
  readonly asks: RateLimit;
  readonly bytes: RateLimit;
}

/** Accounts by PeerId or address. Bound: 8192; beyond it those that hold nothing are forgotten, oldest first. */
export class SpliceAccounts {
  static readonly LIMIT = 8192;
  readonly #clock: Clock;
  readonly #asksPerSecond: number;
  readonly #bytesPerSecond: number;
  readonly #accounts = new Map<string, SpliceAccount>();

  constructor(clock: Clock, limits: Pick<SpliceLimits, 'asksPerSecond'>, bytesPerSecond: number) {
    this.#clock = clock;
    this.#asksPerSecond = limits.asksPerSecond;
    this.#bytesPerSecond = bytesPerSecond;
  }

  of(key: string): SpliceAccount {
    const known = this.#accounts.get(key);
    if (known !== undefined) return known;
    if (this.#accounts.size >= SpliceAccounts.LIMIT) this.#forgetIdle();
    const account: SpliceAccount = {
      pending: 0,
      joined: 0,
      asks: new RateLimit(this.#clock, { perSecond: this.#asksPerSecond, burst: this.#asksPerSecond }),
      bytes: new RateLimit(this.#clock, { perSecond: this.#bytesPerSecond, burst: this.#bytesPerSecond }),
    };
    this.#accounts.set(key, account);
    return account;
  }

  /** Half of them at once, so that a flood of keys does not make us search at each. */
  #forgetIdle(): void {
    let left = SpliceAccounts.LIMIT / 2;
    for (const [key, { pending, joined }] of this.#accounts) {
      if (left === 0) return;
      if (pending > 0 || joined > 0) continue;
      this.#accounts.delete(key);
      left -= 1;
    }
  }
}
