/**
 * Passwords that gateways pass on, held against the hashes of a contract. Hashing is costly on purpose: one runs at a time,
 * {@link MAX_WAITING} wait, in order; the same credentials are hashed once for all who wait for them. What was right is
 * remembered ({@link MAX_REMEMBERED}, the longest unused is dropped). An honest gateway passes on what it checked, so
 * {@link WRONG_PER_HOUR} wrong ones an hour are much: a gateway above that is told no without a look.
 */
import { randomBytes } from 'node:crypto';
import { RememberedPasswords, isPassword, type BasicCredentials, type ScryptHash } from '@moat/contract';
import { RateLimit, type PeerId } from '@moat/core';

export interface PasswordChecksDeps {
  /** Milliseconds; only differences matter. */
  now(): number;
}

/** `busy` = too many wait; nothing was decided. */
export type PasswordAnswer = 'right' | 'wrong' | 'busy';

const MAX_WAITING = 16;
const MAX_REMEMBERED = 1_024;
const WRONG_PER_HOUR = 120;
const HOUR_MS = 3_600_000;

export class PasswordChecks {
  readonly #deps: PasswordChecksDeps;
  readonly #wrong: RateLimit;
  /** Until when a gateway guessed too often. */
  readonly #barredMs = new Map<PeerId, number>();
  readonly #remembered = new RememberedPasswords(randomBytes(32), MAX_REMEMBERED);
  readonly #running = new Map<string, Promise<boolean>>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(deps: PasswordChecksDeps) {
    this.#deps = deps;
    this.#wrong = new RateLimit(deps, { count: WRONG_PER_HOUR, perMs: HOUR_MS, maxKeys: MAX_REMEMBERED });
  }

  /** Forgets gateways that are none any more. */
  retain(isGateway: (peer: PeerId) => boolean): void {
    for (const peer of this.#barredMs.keys()) if (!isGateway(peer)) this.#barredMs.delete(peer);
  }

  /** A promise only where it has to be hashed. */
  check(credentials: BasicCredentials, hash: ScryptHash, gateway: PeerId): PasswordAnswer | Promise<PasswordAnswer> {
    const mark = this.#remembered.markOf(credentials, hash);
    if (this.#remembered.knows(mark)) return 'right';
    if ((this.#barredMs.get(gateway) ?? 0) > this.#deps.now()) return 'wrong';
    let running = this.#running.get(mark);
    if (running === undefined) {
      if (this.#running.size >= MAX_WAITING) return 'busy';
      running = this.#begin(mark, credentials.password, hash, gateway);
    }
    return running.then((isRight) => (isRight ? 'right' : 'wrong'));
  }

  #begin(mark: string, password: Uint8Array, hash: ScryptHash, gateway: PeerId): Promise<boolean> {
    const running = this.#last
      .then(() => ((this.#barredMs.get(gateway) ?? 0) > this.#deps.now() ? false : isPassword(password, hash)))
      // No hash that was parsed is refused; one that were lets nobody in.
      .catch(() => false)
      .then((isRight) => {
        this.#running.delete(mark);
        if (isRight) this.#remembered.keep(mark);
        else this.#countWrong(gateway);
        return isRight;
      });
    this.#last = running;
    this.#running.set(mark, running);
    return running;
  }

  #countWrong(gateway: PeerId): void {
    const waitMs = this.#wrong.take(gateway);
    if (waitMs > 0) this.#barredMs.set(gateway, this.#deps.now() + waitMs);
  }
}
