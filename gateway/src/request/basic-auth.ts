/**
 * edge, first half: HTTP Basic (RFC 7617) before anything of a request reaches a member. Hashing is costly on
 * purpose, so it is bounded: {@link MAX_HASHING} at once, one an address and one a deployment, whose owner chooses what
 * a hash costs; the same credentials are hashed once for
 * all who wait for them; what was right is remembered ({@link MAX_REMEMBERED}, the longest unused is dropped) under
 * a key of this process; wrong ones are {@link WRONG_PER_HOUR} an hour for each address. Above that 503 or 429.
 */
import { randomBytes } from 'node:crypto';
import { addressKey, type Clock, type DeploymentId } from '@moat/core';
import { RememberedPasswords, isPassword, parseBasicCredentials, type ScryptHash } from '@moat/contract';
import { refusal } from '../errors.ts';
import { HourlyQuota } from '../publications/hourly-quota.ts';
import type { BasicWay } from '../publications/edge-rules.ts';

/** libuv has four threads for this, files and names. */
const MAX_HASHING = 2;
const MAX_REMEMBERED = 4_096;
/** Requests that wait for a hash. */
const MAX_WAITING = 1_024;
const WRONG_PER_HOUR = 120;
/** For names that are nobody's: as costly as a user's, right for none. */
const NOBODY: ScryptHash = { log2N: 14, r: 8, p: 1, salt: randomBytes(16), hash: randomBytes(32) };

export interface BasicAuthDeps {
  readonly clock: Clock;
}

/** Who came in. */
export interface Visitor {
  readonly user: string;
  /** The certificate shown, for the service: `Hash=…;Subject="…"`. */
  readonly certificate?: string;
  /** For members that ask too. */
  readonly proof?: string;
  /** Authorization was for the gateway, and is not passed on. */
  readonly byPassword?: boolean;
}

/** For whom a hash runs. */
interface Asker {
  readonly origin: string;
  readonly deployment: DeploymentId;
}

export class BasicAuth {
  readonly #wrong: HourlyQuota;
  readonly #remembered = new RememberedPasswords(randomBytes(32), MAX_REMEMBERED);
  /** By credentials. */
  readonly #hashing = new Map<string, Promise<boolean>>();
  /** Addresses and deployments for which a hash runs. */
  readonly #busy = new Set<string>();
  #waiting = 0;

  constructor(deps: BasicAuthDeps) {
    this.#wrong = new HourlyQuota(deps, { perHour: () => WRONG_PER_HOUR });
  }

  /**
   * Who sent `authorization`; a promise only where it has to be hashed.
   * @throws `AUTH_REQUIRED`, `RATE_LIMITED`, `GATEWAY_BUSY`; a promise rejects with them
   */
  check(auth: BasicWay, authorization: string | undefined, address: string): Visitor | Promise<Visitor> {
    const credentials = parseBasicCredentials(authorization);
    if (credentials === undefined) throw unauthorised(auth.realm);
    const { user, password } = credentials;
    const known = auth.users.get(user);
    const [any = NOBODY] = auth.users.values();
    const hash = known ?? { ...NOBODY, log2N: any.log2N, r: any.r, p: any.p };
    const mark = this.#remembered.markOf(credentials, hash);
    if (this.#remembered.knows(mark)) return { user, byPassword: true };
    return this.#verified(mark, password, hash, { origin: addressKey(address), deployment: auth.deployment }).then(
      (isRight) => {
        if (isRight && known !== undefined) return { user, byPassword: true };
        throw unauthorised(auth.realm);
      },
    );
  }

  async #verified(mark: string, password: Uint8Array, hash: ScryptHash, by: Asker): Promise<boolean> {
    const waitMs = this.#wrong.waitMs(by.origin);
    if (waitMs > 0) {
      throw refusal('RATE_LIMITED', 'this address sent too many wrong passwords', {
        retryable: true,
        details: { retryAfterMs: waitMs },
      });
    }
    if (this.#waiting >= MAX_WAITING) throw busy();
    this.#waiting += 1;
    try {
      const running = this.#hashing.get(mark);
      return await (running ?? this.#begin(mark, password, hash, by));
    } finally {
      this.#waiting -= 1;
    }
  }

  #begin(mark: string, password: Uint8Array, hash: ScryptHash, { origin, deployment }: Asker): Promise<boolean> {
    if (this.#hashing.size >= MAX_HASHING || this.#busy.has(origin) || this.#busy.has(deployment)) throw busy();
    this.#busy.add(origin).add(deployment);
    const running = isPassword(password, hash)
      .then((isRight) => {
        if (isRight) this.#remembered.keep(mark);
        else this.#wrong.take(origin);
        return isRight;
      })
      .finally(() => {
        this.#hashing.delete(mark);
        this.#busy.delete(origin);
        this.#busy.delete(deployment);
      });
    this.#hashing.set(mark, running);
    return running;
  }
}

function unauthorised(realm: string): ReturnType<typeof refusal> {
  return refusal('AUTH_REQUIRED', 'this name asks for a user and a password', { details: { realm } });
}

function busy(): ReturnType<typeof refusal> {
  return refusal('GATEWAY_BUSY', 'too many passwords are being checked', { retryable: true });
}
