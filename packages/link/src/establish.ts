/**
 * Making links on a control connection. Who accepted the connection accepts the link: the other side asks for a ticket
 * and dials, or is sent one unasked and dials.
 */
import { MoatError, toBase64url } from '@moat/core';
import type { ByteChannel, Clock, ControlPlane, Link, Logger, MessageStream, PeerConnection, PeerId } from '@moat/core';

import { createDeadline, orAborted } from './deadline.ts';
import { LINK_PROTOCOL, MAX_TICKETS, decodeMessage, encodeMessage, type LinkMessage, type Offer } from './messages.ts';
import { TICKET_LIFE_MS, derivePsk, encodePreamble, type LinkKind, type Ticket, type TicketBook } from './ticket.ts';
import { dialOverlay } from './transport.overlay.ts';
import { dialTls } from './transport.tls.ts';

/** Milliseconds for one question; longer than the control plane's own deadline, which then looks whether the path is dead. */
const ASK_MS = 7000;
/** A link younger than this answers an offer that crossed it. */
const FRESH_MS = 3000;

export interface EstablishDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly control: ControlPlane;
  readonly tickets: TicketBook;
  readonly mayLink: (peer: PeerId) => boolean;
  /** Our link port, while we listen. */
  readonly port: () => number | undefined;
  /** Makes a link of a channel that we dialed; undefined when it may not stand any more. */
  readonly onChannel: (
    channel: ByteChannel,
    connection: PeerConnection,
    transport: 'tls' | 'overlay',
  ) => Link | undefined;
  /** The link to `peer` that is being made or was just made, if any. */
  readonly current: (peer: PeerId, maxAgeMs: number) => boolean;
  /** The next link that stands. */
  readonly next: (peer: PeerId, signal: AbortSignal) => Promise<Link>;
}

export interface EstablishOptions {
  /** What we are as an acceptor; a gateway never dials. */
  readonly kind: LinkKind;
  /** Milliseconds a direct socket gets before the frames ride the overlay; it goes on trying meanwhile. */
  readonly directMs: number;
  /** Aborted when this machine takes and makes no more links. */
  readonly stopped: AbortSignal;
}

/**
 * The protocol `/moat/link/1` and what follows from it. Bound: one attempt a peer (the pool's), 4 streams a connection,
 * 16 dials a peer; an offer beyond them is refused.
 */
export class Establisher {
  readonly #deps: EstablishDeps;
  readonly #options: EstablishOptions;
  /** Dials that run, of each peer that has any. */
  readonly #dials = new Map<PeerId, number>();

  constructor(deps: EstablishDeps, options: EstablishOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** A link over this connection. @throws `LINK_REFUSED`, `LINK_FAILED`, the control plane's codes, or the signal's reason. */
  async over(connection: PeerConnection, signal: AbortSignal): Promise<Link> {
    if (connection.direction === 'inbound') return this.#push(connection, signal);
    if (this.#options.kind === 'gateway') {
      throw new MoatError('LINK_FAILED', 'a gateway waits until the member connects', { retryable: true });
    }
    const answer = await this.#question(connection, { type: 'ask' }, signal);
    if (answer.type === 'refused') throw refused(connection.peer, answer.code);
    if (answer.type !== 'offer') throw new MoatError('LINK_FAILED', 'the peer answered out of order');
    return this.#dial(connection, answer, signal);
  }

  /** Serves `/moat/link/1`. */
  async serve(stream: MessageStream): Promise<void> {
    const { clock, logger } = this.#deps;
    const { stopped } = this.#options;
    using deadline = createDeadline(clock, ASK_MS, stopped);
    const message = decodeMessage(await stream.read(deadline.signal));
    const answer = this.#answer(stream.connection, message);
    await stream.write(encodeMessage(answer), deadline.signal);
    await stream.close();
    if (message.type !== 'offer' || answer.type !== 'taken') return;
    const { connection } = stream;
    if (message.kind === 'member' && this.#deps.current(connection.peer, FRESH_MS)) return;
    this.#counted(connection.peer, this.#dial(connection, message, stopped)).catch((error: unknown) => {
      logger.debug({ peer: connection.peer, connection: connection.id, err: error }, 'an offered link failed');
    });
  }

  #answer(connection: PeerConnection, message: LinkMessage): LinkMessage {
    const refusal: LinkMessage = { type: 'refused', code: 'LINK_REFUSED' };
    if (this.#options.stopped.aborted || !this.#deps.mayLink(connection.peer)) return refusal;
    if (message.type === 'ask') return connection.direction === 'inbound' ? this.#offer(connection) : refusal;
    if (message.type !== 'offer' || message.tickets.length > this.#room(connection.peer)) return refusal;
    return connection.direction === 'outbound' && this.#options.kind === 'member' ? { type: 'taken' } : refusal;
  }

  #offer(connection: PeerConnection): Offer {
    const port = connection.remote === null ? undefined : this.#deps.port();
    return {
      type: 'offer',
      tickets: port === undefined ? [] : [this.#deps.tickets.issue(connection)],
      port: port ?? null,
      kind: this.#options.kind,
      expires: TICKET_LIFE_MS,
    };
  }

  async #push(connection: PeerConnection, signal: AbortSignal): Promise<Link> {
    // Listens before it sends: the link may stand before the answer is read.
    using deadline = createDeadline(this.#deps.clock, TICKET_LIFE_MS, signal);
    const withdrawn = new AbortController();
    const link = this.#deps.next(connection.peer, AbortSignal.any([deadline.signal, withdrawn.signal]));
    link.catch(() => undefined);
    try {
      const answer = await this.#question(connection, this.#offer(connection), signal);
      if (answer.type === 'refused') throw refused(connection.peer, answer.code);
      if (answer.type !== 'taken') throw new MoatError('LINK_FAILED', 'the peer answered out of order');
    } catch (error) {
      withdrawn.abort(error);
      throw error;
    }
    return link;
  }

  async #question(connection: PeerConnection, message: LinkMessage, signal: AbortSignal): Promise<LinkMessage> {
    using deadline = createDeadline(this.#deps.clock, ASK_MS, signal);
    const stream = await this.#deps.control.open(connection, LINK_PROTOCOL, deadline.signal);
    try {
      await stream.write(encodeMessage(message), deadline.signal);
      const answer = decodeMessage(await stream.read(deadline.signal));
      await stream.close();
      return answer;
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }

  /** Dials the direct socket; when that fails or takes long, rides the overlay while the socket goes on trying. */
  async #dial(connection: PeerConnection, offer: Offer, signal: AbortSignal): Promise<Link> {
    const direct = this.#dialDirect(connection, offer);
    direct.catch((error: unknown) => {
      this.#deps.logger.debug({ peer: connection.peer, connection: connection.id, err: error }, 'no direct link');
    });
    const early = await this.#early(direct, signal);
    if (early !== undefined) return early;
    try {
      using deadline = createDeadline(this.#deps.clock, ASK_MS, signal);
      const channel = await dialOverlay(this.#deps.control, connection, deadline.signal);
      return this.#made(channel, connection, 'overlay');
    } catch (error) {
      signal.throwIfAborted();
      return direct.catch((cause: unknown) => {
        throw new MoatError('LINK_FAILED', 'neither a socket nor the overlay carries a link to the peer', {
          cause: new AggregateError([cause, error]),
          details: { peer: connection.peer },
          retryable: true,
        });
      });
    }
  }

  /** The direct link, if it stands within `directMs`. */
  async #early(direct: Promise<Link>, signal: AbortSignal): Promise<Link | undefined> {
    using deadline = createDeadline(this.#deps.clock, this.#options.directMs, signal);
    const link = await orAborted(direct, deadline.signal).catch(() => undefined);
    signal.throwIfAborted();
    return link;
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
        preamble: encodePreamble(offer.kind, ticket.id),
        ticket: this.#spent(ticket, connection.peer, offer.kind),
        signal: deadline.signal,
      });
      return this.#made(channel, connection, 'tls');
    };
    const tickets = offer.tickets.slice(0, this.#room(connection.peer));
    const dials = tickets.map((ticket) => this.#counted(connection.peer, dial(ticket)));
    void Promise.allSettled(dials).then(() => deadline[Symbol.dispose]());
    return Promise.any(dials);
  }

  /** Dials that may still begin. */
  #room(peer: PeerId): number {
    return MAX_TICKETS - (this.#dials.get(peer) ?? 0);
  }

  async #counted<T>(peer: PeerId, dial: Promise<T>): Promise<T> {
    this.#dials.set(peer, (this.#dials.get(peer) ?? 0) + 1);
    try {
      return await dial;
    } finally {
      const left = (this.#dials.get(peer) ?? 0) - 1;
      if (left > 0) this.#dials.set(peer, left);
      else this.#dials.delete(peer);
    }
  }

  #spent({ id, secret }: Ticket, peer: PeerId, kind: LinkKind): Parameters<typeof dialTls>[0]['ticket'] {
    return { identity: toBase64url(id), psk: derivePsk(secret, this.#deps.control.self, peer, kind), peer };
  }

  #made(channel: ByteChannel, connection: PeerConnection, transport: 'tls' | 'overlay'): Link {
    const link = this.#deps.onChannel(channel, connection, transport);
    if (link === undefined) throw refused(connection.peer, 'LINK_REFUSED');
    return link;
  }
}

function refused(peer: PeerId, code: string): MoatError<'LINK_REFUSED'> {
  return new MoatError('LINK_REFUSED', 'one side may not have this link now', {
    details: { peer, code },
    retryable: true,
  });
}
