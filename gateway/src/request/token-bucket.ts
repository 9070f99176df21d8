/** So much at once and so much a second, of something a client may do. */
export interface BucketOptions {
  readonly burst: number;
  readonly perSecond: number;
}

export class TokenBucket {
  readonly #options: BucketOptions;
  #tokens: number;
  #filledMs: number;

  constructor(options: BucketOptions, nowMs: number) {
    this.#options = options;
    this.#tokens = options.burst;
    this.#filledMs = nowMs;
  }

  /** Takes `count`; false = there are not as many. */
  spend(nowMs: number, count: number = 1): boolean {
    const { burst, perSecond } = this.#options;
    const elapsedMs = Math.max(0, nowMs - this.#filledMs);
    this.#filledMs = nowMs;
    this.#tokens = Math.min(burst, this.#tokens + (elapsedMs * perSecond) / 1_000);
    if (this.#tokens < count) return false;
    this.#tokens -= count;
    return true;
  }
}
