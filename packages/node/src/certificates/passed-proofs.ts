/**
 * Proofs for certificate authorities through gateways that pass a name on unread (`tls-alpn-01`). The order is announced
 * on every link to the name's gateways, so that the authority's handshake comes to this machine and not to another member.
 */
import { createSecureContext, type SecureContext } from 'node:tls';
import { createChallengeCertificate, type Challenge, type ChallengeSolver } from '@moat/acme';
import { MoatError, isMoatError, type Clock, type Link, type LinkStream, type Links } from '@moat/core';
import type { PassedName } from './passed-names.ts';

export interface PassedProofsDeps {
  readonly clock: Clock;
  readonly links: Pick<Links, 'list' | 'onLink'>;
  names(): readonly PassedName[];
}

interface Shown {
  readonly context: SecureContext;
  readonly streams: Set<LinkStream>;
  unsubscribe(): void;
}

/** Milliseconds at least until it is asked again whether another member's order is over. */
const TURN_MS = 1_000;

/** Bound: one proof a name, for as long as its order runs. */
export class PassedProofs implements ChallengeSolver {
  readonly kind = 'tls-alpn-01';
  readonly #deps: PassedProofsDeps;
  readonly #shown = new Map<string, Shown>();

  constructor(deps: PassedProofsDeps) {
    this.#deps = deps;
  }

  solves(name: string, wildcard: boolean): boolean {
    return !wildcard && this.#deps.names().some(({ host }) => host === name);
  }

  /** For the handshake of an authority. */
  proofFor(name: string): SecureContext | undefined {
    return this.#shown.get(name)?.context;
  }

  /** Waits while another member orders for the name. @throws `ORDER_RUNNING` once `signal` is aborted, `NO_GATEWAY_LINK` */
  async present(challenge: Challenge, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        return await this.#show(challenge, signal);
      } catch (error) {
        if (!isMoatError(error, 'ORDER_RUNNING') || signal.aborted) throw error;
        await new Promise<void>((resolve) => this.#deps.clock.after(TURN_MS * (1 + Math.random()), resolve));
      }
    }
  }

  remove({ name }: Challenge): Promise<void> {
    const shown = this.#shown.get(name);
    this.#shown.delete(name);
    shown?.unsubscribe();
    for (const stream of shown?.streams ?? []) stream.reset('ORDER_ENDED');
    return Promise.resolve();
  }

  async #show(challenge: Challenge, signal: AbortSignal): Promise<void> {
    await this.remove(challenge);
    const { certificate, key } = await createChallengeCertificate(challenge, this.#deps.clock.now());
    const passed = this.#deps.names().filter(({ host }) => host === challenge.name);
    const gateways = new Set(passed.flatMap((name) => name.gateways));
    const streams = new Set<LinkStream>();
    const announce = (link: Link): Promise<void>[] => {
      const name = passed.find((each) => each.gateways.includes(link.peer));
      return name === undefined ? [] : [announceOn(link, name, streams, signal)];
    };
    const unsubscribe = this.#deps.links.onLink((link) => {
      // One that is refused is said by the authority.
      for (const told of announce(link)) told.catch(() => undefined);
    });
    this.#shown.set(challenge.name, { context: createSecureContext({ cert: certificate, key }), streams, unsubscribe });
    const told = this.#deps.links
      .list()
      .filter(({ peer }) => gateways.has(peer))
      .flatMap(announce);
    try {
      const taken = await Promise.all(told.map(isTaken));
      if (!taken.includes(true)) {
        throw new MoatError('NO_GATEWAY_LINK', `no gateway of ${challenge.name} is connected`, { retryable: true });
      }
    } catch (error) {
      await this.remove(challenge);
      throw error;
    }
  }
}

/** False for a link that is being replaced: the one that follows is told when it stands. @throws `ORDER_RUNNING` and others */
async function isTaken(told: Promise<void>): Promise<boolean> {
  try {
    await told;
    return true;
  } catch (error) {
    if (isMoatError(error, 'LINK_CLOSED')) return false;
    throw error;
  }
}

/** Resolves when the gateway sends the name's proofs over this link. */
function announceOn(link: Link, name: PassedName, streams: Set<LinkStream>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const { deployment, service, host } = name;
    const stream = link.open({ deployment, service, kind: 'tcp' }, undefined, { servername: host });
    streams.add(stream);
    const onAbort = (): void => stream.reset('ORDER_ENDED');
    signal.addEventListener('abort', onAbort, { once: true });
    stream.listen({
      onHead: () => resolve(),
      onData: () => undefined,
      onEnd: () => undefined,
      onDrain: () => undefined,
      onClose: (code = 'LINK_CLOSED') => {
        streams.delete(stream);
        signal.removeEventListener('abort', onAbort);
        reject(new MoatError(code, `the gateway does not take an order for ${host} now`, { retryable: true }));
      },
    });
  });
}
