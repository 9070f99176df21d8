/**
 * A sign-in that its reader checks without having asked anything: a signature with a time, in one word. A gateway keeps it as
 * a session and shows it to members that ask too.
 */
import { MoatError, isMoatError, type OwnerKey } from '@moat/core';
import { parseSignedSignIn } from './parse/parse.ts';
import { verifySignIn } from './sign-in.ts';
import type { SignedSignIn } from './schema.ts';
import { CLOCK_TOLERANCE_MS, formatTime, parseTime } from './time.ts';

/** The longest that a signature lets in by itself, in milliseconds. */
export const SIGN_IN_LASTS_MS = 43_200_000;

/** The field in which a gateway shows a proof to a member; nobody else's word counts there, and no service sees it. */
export const SIGN_IN_PROOF_FIELD = 'x-moat-proof';

/** What a proof is held against. */
export interface SignInProofRules {
  /** The name under which it is shown, without a port. */
  readonly host: string;
  /** Who may come in. */
  readonly keys: readonly OwnerKey[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

const KEY_PREFIX = 'ed25519:';
const MAX_PROOF_CHARS = 512;
const MAX_SEEN = 1_024;

/** `key.nonce.until.signature`. Its host is left out: whoever checks knows under which name it came. */
export function formatSignInProof({ signIn, signature }: SignedSignIn): string {
  const { key, nonce, until } = signIn;
  const untilMs = until === undefined ? 0 : parseTime(until);
  return [key.slice(KEY_PREFIX.length), nonce, untilMs.toString(36), signature].join('.');
}

/** Proofs as one reader sees them. Bound: {@link MAX_SEEN} signatures that were right, the longest unused is dropped. */
export class SignInProofs {
  /** `host proof` to who signed it, in order of use. */
  readonly #seen = new Map<string, Signed>();

  /**
   * Time and list are looked at each time; a signature that was right stays right.
   * @returns whose it is.
   * @throws `SIGN_IN_INVALID` for another name, a key that may not come in, a time that is over or further away than
   * {@link SIGN_IN_LASTS_MS}, or a false signature
   */
  verify(proof: string, { host, keys, now }: SignInProofRules): OwnerKey {
    const mark = `${host} ${proof}`;
    const seen = this.#seen.get(mark) ?? verified(proof, host, keys);
    const { key, untilMs } = seen;
    if (untilMs <= now || untilMs > now + SIGN_IN_LASTS_MS + CLOCK_TOLERANCE_MS || !keys.includes(key)) {
      throw notIn(host);
    }
    this.#seen.delete(mark);
    this.#seen.set(mark, seen);
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > MAX_SEEN && oldest !== undefined) this.#seen.delete(oldest);
    return key;
  }
}

interface Signed {
  readonly key: OwnerKey;
  /** Milliseconds since 1970. */
  readonly untilMs: number;
}

function verified(proof: string, host: string, keys: readonly OwnerKey[]): Signed {
  const [key = '', nonce = '', until36 = '', signature = '', ...more] = proof.slice(0, MAX_PROOF_CHARS + 1).split('.');
  if (proof.length > MAX_PROOF_CHARS || more.length > 0 || !/^[0-9a-z]{1,9}$/.test(until36)) throw notIn(host);
  const untilMs = Number.parseInt(until36, 36);
  try {
    const until = formatTime(untilMs);
    const signIn = { type: 'moat/sign-in/1', host, nonce, key: `${KEY_PREFIX}${key}`, until };
    return { key: verifySignIn(parseSignedSignIn({ signIn, signature }), { host, keys, nonce }), untilMs };
  } catch (cause) {
    // The last time that there is comes before the last that nine digits can write.
    if (!isMoatError(cause) && !(cause instanceof RangeError)) throw cause;
    throw notIn(host, cause);
  }
}

function notIn(host: string, cause?: unknown): MoatError<'SIGN_IN_INVALID'> {
  return new MoatError('SIGN_IN_INVALID', `this shows nobody in at ${host}`, { details: { host }, cause });
}
