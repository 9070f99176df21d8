/** Time of a {@link RateLimit}. */
export interface RateLimitDeps {
  /** Milliseconds; only differences matter. */
  now(): number;
}

export interface RateLimitOptions {
  /** So many in `perMs` milliseconds, and as many at once. */
  readonly count: number;
  readonly perMs: number;
  /** Keys remembered; the longest unused is dropped, and may begin anew. @defaultValue 100000 */
  readonly maxKeys?: number;
}

/**
 * So much in so much time, for each key apart. One number a key: when what it has used will have been paid back
 * (GCRA, ITU-T I.371 Annex A).
 */
export class RateLimit {
  readonly #deps: RateLimitDeps;
  readonly #perMs: number;
  readonly #eachMs: number;
  readonly #maxKeys: number;
  /** By key, in order of use. */
  readonly #paidMs = new Map<string, number>();

  constructor(deps: RateLimitDeps, { count, perMs, maxKeys = 100_000 }: RateLimitOptions) {
    this.#deps = deps;
    this.#perMs = perMs;
    this.#eachMs = perMs / count;
    this.#maxKeys = maxKeys;
  }

  /** Takes one for `key`. Returns 0, or the milliseconds after which there is another. */
  take(key: string): number {
    const now = this.#deps.now();
    const paidMs = Math.max(now, this.#paidMs.get(key) ?? now) + this.#eachMs;
    // The smallest remainder of a division is no reason to refuse.
    const waitMs = paidMs - now - this.#perMs;
    if (waitMs > 1e-6) return Math.ceil(waitMs);
    this.#paidMs.delete(key);
    this.#paidMs.set(key, paidMs);
    if (this.#paidMs.size > this.#maxKeys) this.#paidMs.delete(this.#paidMs.keys().next().value as string);
    return 0;
  }
}
