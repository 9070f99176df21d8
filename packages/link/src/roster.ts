import type { Link, LinkPath, PeerId } from '@moat/core';

import type { Session } from './session.ts';

/** How a link's bytes travel, worst first. */
const TRANSPORTS = ['overlay-relayed', 'overlay', 'spliced', 'tls'] as const;
/** How a link's bytes travel. */
export type Transport = (typeof TRANSPORTS)[number];

/** What each is called. */
export const PATHS: Readonly<Record<Transport, LinkPath>> = {
  'overlay-relayed': 'relayed',
  overlay: 'direct',
  spliced: 'spliced',
  tls: 'direct',
};

/** Links of one peer; the oldest is closed with `LINK_LIMIT`. A gateway's workers hold one each; see `births.ts` for members. */
const MAX_LINKS_PER_PEER = 16;
/** Milliseconds within which two links are taken for one that both ends made at once. */
const CROSSING_MS = 10_000;

/** The open links, and which of them is best. */
export class Roster {
  readonly #links = new Map<Session, Transport>();
  /** The same by peer: each request asks for the best of one. */
  readonly #ofPeer = new Map<PeerId, readonly Session[]>();
  readonly #listeners = new Set<(link: Link) => void>();
  readonly #arrivals = new Set<(link: Link) => void>();
  readonly #self: PeerId;

  constructor(self: PeerId) {
    this.#self = self;
  }

  /** The newest link over the best transport that takes new streams. */
  best(peer: PeerId): Session | undefined {
    let best: Session | undefined;
    for (const link of this.#ofPeer.get(peer) ?? []) {
      if (link.usable && (best === undefined || this.#rank(link) >= this.#rank(best))) best = link;
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
    const others = this.#ofPeer.get(link.peer) ?? [];
    this.#links.set(link, transport);
    this.#ofPeer.set(link.peer, [...others, link]);
    if (others.length >= MAX_LINKS_PER_PEER) others[0]?.close('LINK_LIMIT');
    for (const other of others) {
      // One side decides, or both would retire the other's choice.
      if (other.dialer && this.#rank(other) < this.#rank(link)) other.close();
      else this.#settleCrossing(link, other);
    }
    for (const listener of this.#listeners) listener(link);
    for (const arrived of this.#arrivals) arrived(link);
  }

  /** Of two links that both ends dialed at once the better stays, or that of the smaller PeerId; its dialer ends the other. */
  #settleCrossing(link: Session, other: Session): void {
    if (link.dialer === other.dialer || !link.usable || !other.usable) return;
    if (Math.abs(link.createdAt - other.createdAt) >= CROSSING_MS) return;
    const [own, theirs] = link.dialer ? [link, other] : [other, link];
    const gain = this.#rank(theirs) - this.#rank(own);
    if (gain > 0 || (gain === 0 && this.#self > link.peer)) own.close();
  }

  #rank(link: Session): number {
    return TRANSPORTS.indexOf(this.#links.get(link) ?? 'overlay-relayed');
  }

  /** True when `transport` is better than what the link rides on. */
  isBetter(transport: Transport, link: Session): boolean {
    return TRANSPORTS.indexOf(transport) > this.#rank(link);
  }

  /** The link goes on over another transport. */
  moved(link: Session, transport: Transport): void {
    if (!this.#links.has(link)) return;
    this.#links.set(link, transport);
    for (const arrived of this.#arrivals) arrived(link);
  }

  remove(link: Session): void {
    this.#links.delete(link);
    const others = (this.#ofPeer.get(link.peer) ?? []).filter((other) => other !== link);
    if (others.length > 0) this.#ofPeer.set(link.peer, others);
    else this.#ofPeer.delete(link.peer);
  }

  onLink(listener: (link: Link) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The next link to `peer` that stands, or goes on; or the signal's reason. */
  next(peer: PeerId, signal: AbortSignal): Promise<Link> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const onArrival = (link: Link): void => {
        if (link.peer !== peer) return;
        this.#arrivals.delete(onArrival);
        signal.removeEventListener('abort', onAbort);
        resolve(link);
      };
      this.#arrivals.add(onArrival);
      const onAbort = (): void => {
        this.#arrivals.delete(onArrival);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}
