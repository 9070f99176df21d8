/**
 * So many of something an hour, for each key: an address that shows bundles, makes deployments, takes names or
 * guesses codes. What costs more counts as more than one. What is unused fills up again evenly.
 * Bound: `maxKeys` keys are remembered; the longest unused is dropped, which gives it a full hour again.
 */
import type { Clock } from '@moat/core';

export interface HourlyQuotaDeps {
  readonly clock: Clock;
}

export interface HourlyQuotaOptions {
  /** Asked at each use. */
  perHour(): number;
  /** @defaultValue 10000 */
  readonly maxKeys?: number;
}

const HOUR_MS = 3_600_000;
const DEFAULT_MAX_KEYS = 10_000;

export class HourlyQuota {
  readonly #deps: HourlyQuotaDeps;
  readonly #options: HourlyQuotaOptions;
  readonly #left = new Map<string, { readonly tokens: number; readonly atMs: number }>();

  constructor(deps: HourlyQuotaDeps, options: HourlyQuotaOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Milliseconds until the key may take `cost`; 0 = now. Takes nothing. @defaultValue cost 1 */
  waitMs(key: string, cost: number = 1): number {
    const missing = this.#charged(cost) - this.#tokens(key);
    return missing <= 0 ? 0 : Math.ceil((missing * HOUR_MS) / this.#options.perHour());
  }

  /** Takes `cost` if there is as much. Returns 0, or the milliseconds until there is. @defaultValue cost 1 */
  take(key: string, cost: number = 1): number {
    const waitMs = this.waitMs(key, cost);
    if (waitMs > 0) return waitMs;
    const tokens = this.#tokens(key) - this.#charged(cost);
    // Order of the map is order of use.
    this.#left.delete(key);
    this.#left.set(key, { tokens, atMs: this.#deps.clock.now() });
    const [oldest] = this.#left.keys();
    if (this.#left.size > (this.#options.maxKeys ?? DEFAULT_MAX_KEYS) && oldest !== undefined)
      this.#left.delete(oldest);
    return 0;
  }

  /** What costs more than an hour holds takes the whole hour: a small quota makes it rare, not impossible. */
  #charged(cost: number): number {
    return Math.min(cost, this.#options.perHour());
  }

  #tokens(key: string): number {
    const perHour = this.#options.perHour();
    const left = this.#left.get(key);
    if (left === undefined) return perHour;
    const elapsedMs = Math.max(0, this.#deps.clock.now() - left.atMs);
    return Math.min(perHour, left.tokens + (elapsedMs * perHour) / HOUR_MS);
  }
}
