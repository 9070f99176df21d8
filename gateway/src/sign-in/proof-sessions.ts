/**
 * Sessions under a name whose members ask too: the cookie is the visitor's own signature, which the gateway checks like a
 * member does and passes on to it. Nothing is remembered but what was right (`SignInProofs`).
 */
import { SIGN_IN_LASTS_MS, SignInProofs, formatSignInProof, type SignedSignIn } from '@moat/contract';
import { isMoatError, type OwnerKey } from '@moat/core';
import { refusal } from '../errors.ts';
import { sessionCookie, sessionValues } from './session-cookie.ts';

export interface ProofSessionsDeps {
  /** Milliseconds since the epoch. */
  now(): number;
}

/** Under which name, and for whom. */
export interface ProofScope {
  readonly host: string;
  readonly keys: readonly OwnerKey[];
}

export interface ProofSession {
  readonly user: OwnerKey;
  /** For members. */
  readonly proof: string;
}

export class ProofSessions {
  readonly #deps: ProofSessionsDeps;
  readonly #proofs = new SignInProofs();

  constructor(deps: ProofSessionsDeps) {
    this.#deps = deps;
  }

  /** What a session is made of. @throws `SIGN_IN_REFUSED` where the signature names no time, or one too far away */
  proofOf(signed: SignedSignIn, { host, keys }: ProofScope): string {
    const proof = formatSignInProof(signed);
    try {
      this.#proofs.verify(proof, { host, keys, now: this.#deps.now() });
      return proof;
    } catch (cause) {
      if (!isMoatError(cause, 'SIGN_IN_INVALID')) throw cause;
      const message = 'members ask here too: sign with a time, within twelve hours (a newer moat does)';
      throw refusal('SIGN_IN_REFUSED', message, { cause });
    }
  }

  /** The field value that begins a session. */
  begin(proof: string): string {
    return sessionCookie(proof, SIGN_IN_LASTS_MS);
  }

  find(cookie: string | undefined, { host, keys }: ProofScope): ProofSession | undefined {
    for (const proof of sessionValues(cookie)) {
      try {
        return { user: this.#proofs.verify(proof, { host, keys, now: this.#deps.now() }), proof };
      } catch (error) {
        if (!isMoatError(error, 'SIGN_IN_INVALID')) throw error;
      }
    }
    return undefined;
  }
}
