/**
 * What was answered and must not be again, until its time is over: one for all workers of a gateway.
 * Bound: {@link MAX_ANSWERED}; above it nobody signs in until the oldest are over.
 */

export interface AnsweredDeps {
  /** Milliseconds since the epoch. */
  now(): number;
}

/** `full` = nothing was decided. */
export type Taken = 'first' | 'again' | 'full';

const MAX_ANSWERED = 10_000;

export class Answered {
  readonly #deps: AnsweredDeps;
  /** Nonce to its end; in the order of answers. */
  readonly #ends = new Map<string, number>();

  constructor(deps: AnsweredDeps) {
    this.#deps = deps;
  }

  /** @param untilMs when it is over by itself, in milliseconds since the epoch */
  take(nonce: string, untilMs: number): Taken {
    if (this.#ends.has(nonce)) return 'again';
    if (this.#ends.size >= MAX_ANSWERED) this.#forget(this.#deps.now());
    if (this.#ends.size >= MAX_ANSWERED) return 'full';
    this.#ends.set(nonce, untilMs);
    return 'first';
  }

  #forget(now: number): void {
    for (const [nonce, endsMs] of this.#ends) {
      if (endsMs <= now) this.#ends.delete(nonce);
    }
  }
}
