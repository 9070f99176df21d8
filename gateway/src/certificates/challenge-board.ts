/**
 * The proofs that are shown now, as requests and handshakes find them: one in each process that carries traffic, all of
 * the same content. Bound: `MAX_SHOWN`; orders run four at a time, and one more proof drops the oldest.
 */
import { createSecureContext, type SecureContext } from 'node:tls';
import { tokenOfPath, type ChallengeCertificate } from '@moat/acme';
import { TLS_OPTIONS } from './contexts.ts';

/** A proof that is shown. */
export type ShownChallenge =
  | { readonly kind: 'http-01'; readonly name: string; readonly token: string; readonly body: string }
  | {
      readonly kind: 'tls-alpn-01';
      readonly name: string;
      readonly token: string;
      readonly pair: ChallengeCertificate;
    };

/** A change as plain data, which another process can be sent. */
export interface ChallengeChange {
  readonly shown: readonly ShownChallenge[];
  /** Tokens of what is shown no more. */
  readonly hidden: readonly string[];
}

const MAX_SHOWN = 100;

export class ChallengeBoard {
  /** By token; insertion order is age. */
  readonly #shown = new Map<string, ShownChallenge>();

  apply({ shown, hidden }: ChallengeChange): void {
    for (const token of hidden) this.#shown.delete(token);
    for (const challenge of shown) {
      this.#shown.set(challenge.token, challenge);
      const [oldest] = this.#shown.keys();
      if (this.#shown.size > MAX_SHOWN && oldest !== undefined) this.#shown.delete(oldest);
    }
  }

  /** Everything as one change. */
  whole(): ChallengeChange {
    return { shown: [...this.#shown.values()], hidden: [] };
  }

  /** The body for a request of `http-01`; undefined when it is none of ours. @param target of the request, without its query */
  answerTo(host: string, target: string): string | undefined {
    if (this.#shown.size === 0) return undefined;
    const challenge = this.#shown.get(tokenOfPath(target) ?? '');
    return challenge?.kind === 'http-01' && challenge.name === host ? challenge.body : undefined;
  }

  /** The context for a handshake of `tls-alpn-01`; undefined when none is awaited. */
  contextFor(host: string): SecureContext | undefined {
    for (const challenge of this.#shown.values()) {
      if (challenge.kind !== 'tls-alpn-01' || challenge.name !== host) continue;
      const { certificate, key } = challenge.pair;
      return createSecureContext({ ...TLS_OPTIONS, cert: certificate, key });
    }
    return undefined;
  }
}
