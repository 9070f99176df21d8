import type { Link, PeerId } from '@moat/core';

import type { Session } from './session.ts';

/** How a link's bytes travel, worst first. */
const TRANSPORTS = ['overlay-relayed', 'overlay', 'tls'] as const;
/** How a link's bytes travel. */
export type Transport = (typeof TRANSPORTS)[number];

/** Links of one peer; the oldest is closed with `LINK_LIMIT`. A gateway's workers hold one each. */
const MAX_LINKS_PER_PEER = 16;

/** The open links, and which of them is best. */
export class Roster {
  readonly #links = new Map<Session, Transport>();
  readonly #listeners = new Set<(link: Link) => void>();

  /** The newest link over the best transport that takes new streams. */
  best(peer: PeerId): Session | undefined {
    let best: Session | undefined;
    let bestRank = -1;
    for (const [link, transport] of this.#links) {
      const rank = TRANSPORTS.indexOf(transport);
      if (link.peer !== peer || !link.usable || rank < bestRank) continue;
      best = link;
      bestRank = rank;
    }
    return best;
  }

  /** How the best link's bytes travel. */
  bestTransport(peer: PeerId): Transport | undefined {
    const best = this.best(peer);
    return best && this.#links.get(best);
  }

  list(): readonly Session[] {
    return [...this.#links.keys()];
  }

  /** Adds a link, retires those that it makes needless, and tells. */
  add(link: Session, transport: Transport): void {
    const others = [...this.#links].filter(([other]) => other.peer === link.peer);
    this.#links.set(link, transport);
    if (others.length >= MAX_LINKS_PER_PEER) others[0]?.[0].close('LINK_LIMIT');
    for (const [other, otherTransport] of others) {
      // One side decides, or both would retire the other's choice.
      if (other.dialer && TRANSPORTS.indexOf(otherTransport) < TRANSPORTS.indexOf(transport)) other.close();
    }
    for (const listener of this.#listeners) listener(link);
  }

  remove(link: Session): void {
    this.#links.delete(link);
  }

  onLink(listener: (link: Link) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The next link to `peer`, or the signal's reason. */
  next(peer: PeerId, signal: AbortSignal): Promise<Link> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const stop = this.onLink((link) => {
        if (link.peer !== peer) return;
        stop();
        signal.removeEventListener('abort', onAbort);
        resolve(link);
      });
      const onAbort = (): void => {
        stop();
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}
