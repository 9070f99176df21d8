/**
 * Making links on a control connection. Who accepted the connection accepts the link: the other side asks for a ticket
 * and dials, or is sent one unasked and dials.
 */
import { MoatError } from '@moat/core';
import type { ByteChannel, Clock, ControlPlane, Link, Logger, MessageStream, PeerConnection, PeerId } from '@moat/core';

import { createDeadline } from './deadline.ts';
import { LinkDialer, linkRefused, type LinkDialerDeps } from './dial.ts';
import { LINK_PROTOCOL, decodeMessage, encodeMessage, type LinkMessage, type Offer } from './messages.ts';
import { acceptSpliced, type SpliceDialer } from './splice-dial.ts';
import { TICKET_LIFE_MS, type LinkKind, type TicketBook } from './ticket.ts';

/** Milliseconds for one question; longer than the control plane's own deadline, which then looks whether the path is dead. */
const ASK_MS = 7000;
/** A link younger than this answers an offer that crossed it. */
const FRESH_MS = 3000;

export interface EstablishDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly control: ControlPlane;
  readonly tickets: TicketBook;
  /** Undefined where no anchors are known. */
  readonly splices: SpliceDialer | undefined;
  readonly mayLink: (peer: PeerId) => boolean;
  /** Our link port, while we listen. */
  readonly port: () => number | undefined;
  /** Workers that take links now, one ticket each; without it this process takes them itself. */
  readonly workers?: () => readonly number[];
  readonly onChannel: LinkDialerDeps['onChannel'];
  /** Makes a link of a channel that an anchor joined and the peer dialed. */
  readonly onSpliced: (channel: ByteChannel, peer: PeerId) => Promise<void>;
  /** The peer's link to us has no path any more, and it asks us to dial. */
  readonly onPeerLost: (peer: PeerId) => void;
  /** The link to `peer` that is being made or was just made, if any. */
  readonly current: (peer: PeerId, maxAgeMs: number) => boolean;
  /** The next link that stands. */
  readonly next: (peer: PeerId, signal: AbortSignal) => Promise<Link>;
}

export interface EstablishOptions {
  /** What we are as an acceptor; a gateway never dials. */
  readonly kind: LinkKind;
  /** Milliseconds a socket gets before the frames ride the overlay; it goes on trying meanwhile. */
  readonly directMs: number;
  /** Aborted when this machine takes and makes no more links. */
  readonly stopped: AbortSignal;
}

/** What a link is wanted for. */
export interface OverOptions {
  /** Only a direct socket is worth it. @defaultValue false */
  readonly directOnly?: boolean;
  /** The link that stands has no path any more. @defaultValue false */
  readonly lost?: boolean;
  /** Workers that shall get one. @defaultValue all */
  readonly workers?: readonly number[];
}

/**
 * The protocol `/moat/link/1` and what follows from it. Bound: one attempt a peer (the pool's), 4 streams a connection,
 * 16 dials a peer, splices among them; an offer beyond them is refused.
 */
export class Establisher {
  readonly #deps: EstablishDeps;
  readonly #options: EstablishOptions;
  readonly #dialer: LinkDialer;

  constructor(deps: EstablishDeps, options: EstablishOptions) {
    this.#deps = deps;
    this.#options = options;
    const question: LinkDialerDeps['question'] = (connection, message, signal) =>
      this.#question(connection, message, signal);
    this.#dialer = new LinkDialer({ ...deps, question }, options);
  }

  /** A link over this connection. @throws `LINK_REFUSED`, `LINK_FAILED`, the control plane's codes, or the signal's reason. */
  async over(connection: PeerConnection, signal: AbortSignal, options: OverOptions = {}): Promise<Link> {
    if (connection.direction === 'inbound') return this.#push(connection, signal, options);
    if (this.#options.kind === 'gateway') {
      throw new MoatError('LINK_FAILED', 'a gateway waits until the member connects', { retryable: true });
    }
    const answer = await this.#question(connection, { type: 'ask' }, signal);
    if (answer.type === 'refused') throw linkRefused(connection.peer, answer.code);
    if (answer.type !== 'offer') throw new MoatError('LINK_FAILED', 'the peer answered out of order');
    return this.#dialer.dial(connection, answer, signal, options);
  }

  /** Serves `/moat/link/1`. */
  async serve(stream: MessageStream): Promise<void> {
    const { clock } = this.#deps;
    const { stopped } = this.#options;
    const { connection } = stream;
    using deadline = createDeadline(clock, ASK_MS, stopped);
    const message = decodeMessage(await stream.read(deadline.signal));
    const answer = this.#answer(connection, message);
    await stream.write(encodeMessage(answer), deadline.signal);
    await stream.close();
    if (message.type === 'splice' && answer.type === 'offer') return this.#come(connection, message);
    if (message.type !== 'offer' || answer.type !== 'taken') return;
    if (message.lost === true) this.#deps.onPeerLost(connection.peer);
    else if (message.kind === 'member' && this.#deps.current(connection.peer, FRESH_MS)) return;
    const dialed = this.#dialer.counted(connection.peer, this.#dialer.dial(connection, message, stopped));
    dialed.catch((error: unknown) => this.#report(connection, error, 'an offered link failed'));
  }

  #answer(connection: PeerConnection, message: LinkMessage): LinkMessage {
    const { peer, direction } = connection;
    const refusal: LinkMessage = { type: 'refused', code: 'LINK_REFUSED' };
    if (this.#options.stopped.aborted || !this.#deps.mayLink(peer)) return refusal;
    if (this.#deps.workers?.().length === 0) return refusal;
    const isAcceptor = direction === 'inbound';
    if (message.type === 'ask' && isAcceptor) return this.#offer(connection);
    if (message.type === 'splice' && isAcceptor && this.#mayCome(peer, message.anchor)) {
      return this.#offerSpliced(connection);
    }
    const mayDial = !isAcceptor && this.#options.kind === 'member';
    if (message.type !== 'offer' || message.tickets.length > this.#dialer.room(peer)) return refusal;
    return mayDial ? { type: 'taken' } : refusal;
  }

  #offer(connection: PeerConnection, only?: readonly number[]): Offer {
    const { tickets } = this.#deps;
    const port = connection.remote === null ? undefined : this.#deps.port();
    const workers = only ?? this.#deps.workers?.() ?? [undefined];
    return {
      type: 'offer',
      tickets: port === undefined ? [] : workers.map((worker) => tickets.issue(connection, worker)),
      port: port ?? null,
      kind: this.#options.kind,
      expires: TICKET_LIFE_MS,
    };
  }

  /** An anchor of a contract that both share, and nothing else that a peer may name. */
  #mayCome(peer: PeerId, anchor: PeerId): boolean {
    return (
      this.#options.kind === 'member' &&
      this.#dialer.room(peer) > 0 &&
      this.#deps.splices?.anchorsOf(peer).includes(anchor) === true
    );
  }

  #offerSpliced(connection: PeerConnection): Offer {
    const tickets = [this.#deps.tickets.issue(connection)];
    return { type: 'offer', tickets, port: null, kind: 'member', expires: TICKET_LIFE_MS };
  }

  /** Comes to the anchor that the peer waits at. */
  #come(connection: PeerConnection, { anchor, id }: LinkMessage & { readonly type: 'splice' }): void {
    const { clock, splices, tickets, onSpliced } = this.#deps;
    const { peer } = connection;
    if (splices === undefined) return;
    const come = async (): Promise<void> => {
      using deadline = createDeadline(clock, TICKET_LIFE_MS, this.#options.stopped);
      const { signal } = deadline;
      const place = await splices.place(anchor, signal);
      const spend = (preamble: Buffer): ReturnType<TicketBook['spend']> => {
        const ticket = tickets.spend(preamble);
        return ticket?.peer === peer ? ticket : undefined;
      };
      await onSpliced(await acceptSpliced({ ...place, id, signal, spend }), peer);
    };
    this.#dialer
      .counted(peer, come())
      .catch((error: unknown) => this.#report(connection, error, 'an offered splice failed'));
  }

  #report({ id, peer }: PeerConnection, error: unknown, message: string): void {
    this.#deps.logger.debug({ peer, connection: id, err: error }, message);
  }

  async #push(connection: PeerConnection, signal: AbortSignal, options: OverOptions): Promise<Link> {
    // Listens before it sends: the link may stand before the answer is read.
    using deadline = createDeadline(this.#deps.clock, TICKET_LIFE_MS, signal);
    const withdrawn = new AbortController();
    const link = this.#deps.next(connection.peer, AbortSignal.any([deadline.signal, withdrawn.signal]));
    link.catch(() => undefined);
    try {
      const { lost = false, workers } = options;
      const offer = { ...this.#offer(connection, workers), ...(lost ? { lost } : {}) };
      const answer = await this.#question(connection, offer, signal);
      if (answer.type === 'refused') throw linkRefused(connection.peer, answer.code);
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
}
