/**
 * Gives a member that failed so often in a row nothing for a while, then one request to show that it is well again.
 * Bound: one record a member that failed and has not answered since.
 */
export interface BreakerDeps {
  /** Milliseconds; only differences matter. */
  now(): number;
}

export interface BreakerOptions {
  readonly failures: number;
  readonly openMs: number;
}

interface Trouble {
  failures: number;
  /** Until then it gets nothing. */
  untilMs: number;
}

export class Breaker<K> {
  readonly #deps: BreakerDeps;
  readonly #options: BreakerOptions;
  readonly #troubles = new Map<K, Trouble>();

  constructor(deps: BreakerDeps, options: BreakerOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** True when `key` is to get nothing. */
  isOpen(key: K): boolean {
    const trouble = this.#troubles.get(key);
    return trouble !== undefined && this.#deps.now() < trouble.untilMs;
  }

  /** `key` got a request. Of those that rested it is the one by which it is judged: the others wait for it. */
  begin(key: K): void {
    const trouble = this.#troubles.get(key);
    if (trouble !== undefined && trouble.failures >= this.#options.failures) this.#rest(trouble);
  }

  success(key: K): void {
    this.#troubles.delete(key);
  }

  failure(key: K): void {
    const trouble = this.#troubles.get(key) ?? { failures: 0, untilMs: -Infinity };
    this.#troubles.set(key, trouble);
    trouble.failures += 1;
    if (trouble.failures >= this.#options.failures) this.#rest(trouble);
  }

  /** Forgets all keys but these. */
  retain(keys: Iterable<K>): void {
    const kept = new Set(keys);
    for (const key of this.#troubles.keys()) if (!kept.has(key)) this.#troubles.delete(key);
  }

  #rest(trouble: Trouble): void {
    trouble.untilMs = this.#deps.now() + this.#options.openMs;
  }
}
