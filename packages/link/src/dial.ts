/**
 * The ways to a peer that offered a link, in order: a socket of its own, two sockets that an anchor joins, and the
 * overlay itself. The first that stands is the link; the better ones go on trying.
 */
import { MoatError, toBase64url } from '@moat/core';
import type { ByteChannel, Clock, ControlPlane, Link, Logger, PeerConnection, PeerId } from '@moat/core';

import { createDeadline, orAborted } from './deadline.ts';
import type { LinkMessage, Offer } from './messages.ts';
import type { SpliceDialer } from './splice-dial.ts';
import {
  TICKET_LIFE_MS,
  derivePsk,
  encodePreamble,
  encodeSplicePreamble,
  type LinkKind,
  type Ticket,
} from './ticket.ts';
import { dialOverlay } from './transport.overlay.ts';
import { dialTls } from './transport.tls.ts';

/** Milliseconds for the overlay to open a stream; longer than the control plane's own deadline, which then looks whether the path is dead. */
const OVERLAY_MS = 7000;
/** Milliseconds a direct socket gets before an anchor is asked; at once where there is no address. */
const SPLICE_AFTER_MS = 250;
/** Anchors tried for one link, one after the other. */
const MAX_ANCHORS = 2;
/** Dials of one peer at once; a gateway offers a ticket a worker. */
const MAX_DIALS = 16;

/** What a channel rides on. */
export type DialedTransport = 'tls' | 'spliced' | 'overlay';

export interface LinkDialerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly control: ControlPlane;
  /** Undefined where no anchors are known. */
  readonly splices: SpliceDialer | undefined;
  /** Asks the peer something over `/moat/link/1`. */
  readonly question: (connection: PeerConnection, message: LinkMessage, signal: AbortSignal) => Promise<LinkMessage>;
  /** Makes a link of a channel that we dialed, or has one go on over it. @throws `LINK_REFUSED`, … */
  readonly onChannel: (
    channel: ByteChannel,
    connection: PeerConnection,
    transport: DialedTransport,
    kind: LinkKind,
  ) => Promise<Link>;
}

export interface LinkDialerOptions {
  /** Milliseconds before the frames ride the overlay; the sockets go on trying meanwhile. */
  readonly directMs: number;
  /** Aborted when this machine makes no more links. */
  readonly stopped: AbortSignal;
}

/** Bound: 16 dials a peer; what an offer asks beyond them is left. */
export class LinkDialer {
  readonly #deps: LinkDialerDeps;
  readonly #options: LinkDialerOptions;
  /** Dials that run, of each peer that has any. */
  readonly #dials = new Map<PeerId, number>();

  constructor(deps: LinkDialerDeps, options: LinkDialerOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** A link over the first way that stands. @throws `LINK_FAILED`, or the signal's reason. */
  async dial(
    connection: PeerConnection,
    offer: Offer,
    signal: AbortSignal,
    { directOnly = false }: { readonly directOnly?: boolean } = {},
  ): Promise<Link> {
    const { clock, control } = this.#deps;
    const direct = this.#watched('direct', connection, this.#dialDirect(connection, offer));
    if (directOnly) return orAborted(direct, signal);
    const spliceAfterMs = Math.min(SPLICE_AFTER_MS, this.#options.directMs);
    const early = await this.#within(spliceAfterMs, direct, signal);
    if (early !== undefined) return early;
    const spliced = this.#watched('spliced', connection, this.#dialSpliced(connection, offer));
    const socket = Promise.any([direct, spliced]);
    socket.catch(() => undefined);
    const soon = await this.#within(this.#options.directMs - spliceAfterMs, socket, signal);
    if (soon !== undefined) return soon;
    try {
      using deadline = createDeadline(clock, OVERLAY_MS, signal);
      const channel = await dialOverlay(control, connection, deadline.signal);
      return await this.#deps.onChannel(channel, connection, 'overlay', offer.kind);
    } catch (error) {
      signal.throwIfAborted();
      return socket.catch((cause: unknown) => {
        throw new MoatError('LINK_FAILED', 'neither a socket nor the overlay carries a link to the peer', {
          cause: new AggregateError([cause, error]),
          details: { peer: connection.peer },
          retryable: true,
        });
      });
    }
  }

  /** Dials that may still begin. */
  room(peer: PeerId): number {
    return MAX_DIALS - (this.#dials.get(peer) ?? 0);
  }

  /** Counts work done for a peer among its dials. */
  async counted<T>(peer: PeerId, dial: Promise<T>): Promise<T> {
    this.#dials.set(peer, (this.#dials.get(peer) ?? 0) + 1);
    try {
      return await dial;
    } finally {
      const left = (this.#dials.get(peer) ?? 0) - 1;
      if (left > 0) this.#dials.set(peer, left);
      else this.#dials.delete(peer);
    }
  }

  #watched(way: string, connection: PeerConnection, link: Promise<Link>): Promise<Link> {
    link.catch((error: unknown) => {
      const { id, peer } = connection;
      this.#deps.logger.debug({ peer, connection: id, path: way, err: error }, 'no link this way');
    });
    return link;
  }

  /** The link, if it stands within `ms`; undefined as soon as it failed. */
  async #within(ms: number, link: Promise<Link>, signal: AbortSignal): Promise<Link | undefined> {
    using deadline = createDeadline(this.#deps.clock, ms, signal);
    const made = await orAborted(link, deadline.signal).catch(() => undefined);
    signal.throwIfAborted();
    return made;
  }

  /** One link for each ticket; the first that stands. Runs on after the caller gave up, until the tickets expire. */
  async #dialDirect(connection: PeerConnection, offer: Offer): Promise<Link> {
    const { remote } = connection;
    if (remote === null || offer.port === null) throw new MoatError('LINK_FAILED', 'there is no address to dial');
    const { port } = offer;
    const deadline = createDeadline(this.#deps.clock, Math.min(offer.expires, TICKET_LIFE_MS), this.#options.stopped);
    const dial = async (ticket: Ticket): Promise<Link> => {
      const channel = await dialTls({
        host: remote.host,
        port,
        preambles: [encodePreamble(offer.kind, ticket.id)],
        ticket: this.#spent(ticket, connection.peer, offer.kind),
        signal: deadline.signal,
      });
      return this.#deps.onChannel(channel, connection, 'tls', offer.kind);
    };
    const tickets = offer.tickets.slice(0, this.room(connection.peer));
    const dials = tickets.map((ticket) => this.counted(connection.peer, dial(ticket)));
    void Promise.allSettled(dials).then(() => deadline[Symbol.dispose]());
    return Promise.any(dials);
  }

  /** Over the first anchor that joins us with the peer. Gateways are reached directly or not at all. */
  async #dialSpliced(connection: PeerConnection, { kind }: Offer): Promise<Link> {
    const { clock, splices } = this.#deps;
    const { peer } = connection;
    let failure: unknown = new MoatError('LINK_FAILED', 'no anchor is shared with the peer');
    const anchors = kind === 'member' ? (splices?.anchorsOf(peer) ?? []).slice(0, MAX_ANCHORS) : [];
    for (const anchor of anchors) {
      if (splices === undefined || this.room(peer) <= 0) break;
      using deadline = createDeadline(clock, TICKET_LIFE_MS, this.#options.stopped);
      try {
        return await this.counted(peer, this.#dialOver(anchor, splices, connection, deadline.signal));
      } catch (error) {
        this.#options.stopped.throwIfAborted();
        failure = error;
      }
    }
    throw failure;
  }

  async #dialOver(
    anchor: PeerId,
    splices: SpliceDialer,
    connection: PeerConnection,
    signal: AbortSignal,
  ): Promise<Link> {
    const { host, port, ids } = await splices.pair(anchor, signal);
    const answer = await this.#deps.question(connection, { type: 'splice', anchor, id: ids[1] }, signal);
    const [ticket] = answer.type === 'offer' ? answer.tickets : [];
    if (ticket === undefined) throw new MoatError('LINK_FAILED', 'the peer does not come to this anchor');
    const channel = await dialTls({
      host,
      port,
      preambles: [encodeSplicePreamble(ids[0]), encodePreamble('member', ticket.id)],
      ticket: this.#spent(ticket, connection.peer, 'member'),
      signal,
    });
    return this.#deps.onChannel(channel, connection, 'spliced', 'member');
  }

  #spent({ id, secret }: Ticket, peer: PeerId, kind: LinkKind): Parameters<typeof dialTls>[0]['ticket'] {
    return { identity: toBase64url(id), psk: derivePsk(secret, this.#deps.control.self, peer, kind), peer };
  }
}

/** One side may not have a link with the other; `code` is the peer's. */
export function linkRefused(peer: PeerId, code: string): MoatError<'LINK_REFUSED'> {
  return new MoatError('LINK_REFUSED', 'one side may not have this link now', {
    details: { peer, code },
    retryable: true,
  });
}
