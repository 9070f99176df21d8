/**
 * What was answered and must not be again, until its time is over: one for all workers of a gateway.
 * Bound: {@link MAX_ANSWERED}; above it nobody signs in until the oldest are over. One name, whose own people may be as
 * many as they like, takes {@link MAX_OF_NAME} of them. Nothing of it outlives the process, and so does no question.
 */
import { randomBytes } from 'node:crypto';

export interface AnsweredDeps {
  /** Milliseconds since the epoch. */
  now(): number;
}

/** `full` = nothing was decided. */
export type Taken = 'first' | 'again' | 'full';

const MAX_ANSWERED = 50_000;
const MAX_OF_NAME = 2_000;
const FORGET_MS = 1_000;
const EPOCH_BYTES = 16;

interface Ending {
  readonly scope: string;
  readonly endsMs: number;
}

export class Answered {
  /** Another one at every start: a question is of one epoch, since what was answered before it is not remembered. */
  readonly epoch: Uint8Array = randomBytes(EPOCH_BYTES);
  readonly #deps: AnsweredDeps;
  /** Nonce to its end; in the order of answers. */
  readonly #ends = new Map<string, Ending>();
  readonly #perScope = new Map<string, number>();
  #forgotMs = 0;

  constructor(deps: AnsweredDeps) {
    this.#deps = deps;
  }

  /**
   * @param untilMs when it is over by itself, in milliseconds since the epoch
   * @param scope the name that it was asked under
   */
  take(nonce: string, untilMs: number, scope: string): Taken {
    if (this.#ends.has(nonce)) return 'again';
    if (this.#isFull(scope)) this.#forget(this.#deps.now());
    if (this.#isFull(scope)) return 'full';
    this.#ends.set(nonce, { scope, endsMs: untilMs });
    this.#perScope.set(scope, this.#countOf(scope) + 1);
    return 'first';
  }

  #isFull(scope: string): boolean {
    return this.#ends.size >= MAX_ANSWERED || this.#countOf(scope) >= MAX_OF_NAME;
  }

  #countOf(scope: string): number {
    return this.#perScope.get(scope) ?? 0;
  }

  /** At most once a second, as it looks at all. */
  #forget(now: number): void {
    if (Math.abs(now - this.#forgotMs) < FORGET_MS) return;
    this.#forgotMs = now;
    for (const [nonce, { scope, endsMs }] of this.#ends) {
      if (endsMs > now) continue;
      this.#ends.delete(nonce);
      const left = this.#countOf(scope) - 1;
      if (left > 0) this.#perScope.set(scope, left);
      else this.#perScope.delete(scope);
    }
  }
}
