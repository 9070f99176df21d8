/** How many new proposals an owner may leave: as many as wait at once, then one a minute. */
import type { OwnerKey } from '@moat/core';
import { MAX_PROPOSALS } from './proposal-room.ts';

const MS_PER_PROPOSAL = 60_000;

interface Rate {
  left: number;
  /** Milliseconds since 1970. */
  at: number;
}

/** Bound: one entry an owner in force. */
export class ProposalRates {
  readonly #now: () => number;
  readonly #rates = new Map<OwnerKey, Rate>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts for that one of its signers who has most left; false when nobody has any. */
  take(signers: readonly OwnerKey[], owners: ReadonlySet<OwnerKey>): boolean {
    for (const key of this.#rates.keys()) if (!owners.has(key)) this.#rates.delete(key);
    const rates = signers.filter((key) => owners.has(key)).map((key) => this.#rateOf(key));
    const most = rates.sort((a, b) => b.left - a.left)[0];
    if (most === undefined || most.left < 1) return false;
    most.left -= 1;
    return true;
  }

  #rateOf(key: OwnerKey): Rate {
    const now = this.#now();
    const rate = this.#rates.get(key) ?? { left: MAX_PROPOSALS, at: now };
    rate.left = Math.min(MAX_PROPOSALS, rate.left + Math.max(0, now - rate.at) / MS_PER_PROPOSAL);
    rate.at = now;
    this.#rates.set(key, rate);
    return rate;
  }
}
