/**
 * The links of a gateway whose traffic runs in workers: this process gives out the tickets, reads the preamble at the
 * link port, and passes the socket on to the worker that the ticket is for, before TLS begins. It is on the path of new
 * links only; of those that must ride the overlay, whose connection ends here, it passes every byte on.
 */
import { MoatError } from '@moat/core';
import type { ByteChannel, Link, LinkPath, PeerConnection, PeerId } from '@moat/core';
import type { Socket } from 'node:net';

import { Establisher } from './establish.ts';
import { DEFAULT_GUARD_LIMITS, PortGuard } from './guard.ts';
import { LinkFiller } from './link-filler.ts';
import { LINK_PROTOCOL, LINK_STREAM_PROTOCOL, MAX_TICKETS } from './messages.ts';
import type { LinkService, LinksDeps, LinksOptions } from './pool.ts';
import { DEFAULT_SPLICE_LIMITS } from './splice-limits.ts';
import { Splicer } from './splicer.ts';
import { TicketBook, type SpentTicket } from './ticket.ts';
import { WorkerLink, WorkerTable } from './worker-table.ts';

/** The way to the workers. A worker is named by a number that is never used twice. */
export interface LinkWorkers {
  /** Passes a socket on from which the preamble was read and nothing was answered. */
  passSocket(worker: number, socket: Socket, ticket: SpentTicket): void;
  /** Passes on what a link rides on here. */
  passChannel(worker: number, channel: ByteChannel, peer: PeerId, relayed: boolean): void;
  /** Ends the links of these peers, and those that are being made, at every worker. */
  revoke(peers: readonly PeerId[]): void;
}

export interface DispatchDeps extends Omit<LinksDeps, 'accept' | 'anchors'> {
  readonly workers: LinkWorkers;
}

export interface DispatchOptions extends Pick<LinksOptions, 'mayLink' | 'listen' | 'splice'> {
  /** Workers there are at most at once. */
  readonly workers: number;
}

/** What a worker says about a link. */
export interface ToldLink {
  /** The worker's own number for it. */
  readonly number: number;
  readonly peer: PeerId;
  readonly path: LinkPath;
  readonly piped: boolean;
}

/** The links of all workers, seen from the process that hands them out. */
export interface LinkDispatcher extends LinkService {
  /** A worker takes links from now on: every connected peer is sent a ticket for it. */
  workerReady(worker: number): void;
  /** A worker takes no more, or is gone. */
  workerGone(worker: number): void;
  linked(worker: number, told: ToldLink): void;
  unlinked(worker: number, number: number): void;
  /** Streams that each link carries, as a worker counts them. */
  counted(worker: number, streams: ReadonlyMap<number, number>): void;
  /** Has the peer sent a ticket for every worker that has no link to it. @throws `LINK_FAILED` where it is not connected. */
  want(peer: PeerId): void;
  /** Peers that have a link with the worker. */
  peersOf(worker: number): ReadonlySet<PeerId>;
  /** All links with what is known of each. */
  workerLinks(): readonly WorkerLink[];
}

/** Nothing is opened before `start`. */
export function createLinkDispatcher(deps: DispatchDeps, options: DispatchOptions): LinkDispatcher {
  return new Dispatcher({ ...deps, logger: deps.logger.child({ component: 'link.dispatch' }) }, options);
}

/** Bound: what its parts hold. */
class Dispatcher implements LinkDispatcher {
  readonly #deps: DispatchDeps;
  readonly #options: DispatchOptions;
  readonly #table = new WorkerTable();
  readonly #tickets: TicketBook;
  readonly #establisher: Establisher;
  readonly #splicer: Splicer | undefined;
  readonly #filler: LinkFiller;
  readonly #stopping = new AbortController();
  #guard: PortGuard | undefined;
  #unsubscribe: () => void = () => undefined;
  #closed = false;

  constructor(deps: DispatchDeps, options: DispatchOptions) {
    this.#deps = deps;
    this.#options = options;
    const { clock, control, logger } = deps;
    const { splice = false } = options;
    const port = (): number | undefined => this.port;
    this.#tickets = new TicketBook({ clock, self: control.self, kind: 'gateway', workers: options.workers });
    if (splice !== false) {
      const limits = { ...DEFAULT_SPLICE_LIMITS, ...(splice === true ? {} : splice) };
      this.#splicer = new Splicer({ clock, logger, control, port }, limits);
    }
    this.#establisher = new Establisher(
      {
        clock,
        logger,
        control,
        tickets: this.#tickets,
        splices: undefined,
        mayLink: (peer) => this.#mayBegin(peer),
        port,
        workers: () => this.#table.workers(),
        // A gateway dials nobody, and comes to no anchor.
        onChannel: (channel) => refuse(channel),
        onSpliced: (channel) => refuse(channel),
        onPeerLost: () => undefined,
        current: () => false,
        next: (peer, signal) => this.#table.next(peer, signal),
      },
      { kind: 'gateway', directMs: 0, stopped: this.#stopping.signal },
    );
    this.#filler = new LinkFiller({
      clock,
      logger,
      table: this.#table,
      connectionOf: (peer) => this.#connectionOf(peer),
      offer: (connection, workers, signal) => this.#establisher.over(connection, signal, { workers }),
    });
  }

  get port(): number | undefined {
    return this.#guard?.port;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const { clock, control, logger } = this.#deps;
    const { listen } = this.#options;
    if (listen !== undefined) {
      const guard = new PortGuard(
        {
          clock,
          logger,
          spend: (preamble) => this.#spend(preamble),
          admit: (socket, ticket) => {
            const { worker } = ticket;
            if (worker === undefined || !this.#mayBegin(ticket.peer)) {
              return Promise.reject(new MoatError('LINK_REFUSED', 'no link with this peer now'));
            }
            this.#deps.workers.passSocket(worker, socket, ticket);
            return Promise.resolve();
          },
          splice: (preamble, socket) => this.#splicer?.take(preamble, socket) ?? false,
        },
        DEFAULT_GUARD_LIMITS,
      );
      await guard.listen(listen.host, listen.port);
      this.#guard = guard;
    }
    this.#splicer?.serve();
    control.handle(LINK_PROTOCOL, (stream) => this.#establisher.serve(stream), { audience: 'admitted' });
    control.handleBytes(LINK_STREAM_PROTOCOL, (channel, connection) => this.#takeChannel(channel, connection), {
      audience: 'admitted',
      maxStreams: MAX_TICKETS,
    });
    this.#unsubscribe = control.onAdmitted(({ peer }) => this.#filler.fill(peer));
  }

  stop(): Promise<void> {
    this.#stopping.abort(new MoatError('LINK_CLOSED', 'this machine stops'));
    this.#unsubscribe();
    this.#filler.stop();
    this.#splicer?.stop();
    // Not awaited: Node counts the sockets that were passed on until the worker that has them ends.
    void this.#guard?.close();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  get(peer: PeerId): Link | undefined {
    const links = this.#table.of(peer);
    return links.find(({ piped }) => !piped) ?? links[0];
  }

  list(): readonly Link[] {
    return this.#table.list();
  }

  workerLinks(): readonly WorkerLink[] {
    return this.#table.list();
  }

  onLink(listener: (link: Link) => void): () => void {
    return this.#table.onLink(listener);
  }

  async connect(peer: PeerId, signal: AbortSignal): Promise<Link> {
    signal.throwIfAborted();
    const link = this.get(peer);
    if (link !== undefined) return link;
    const next = this.#table.next(peer, signal);
    next.catch(() => undefined);
    this.want(peer);
    return next;
  }

  recheck(): void {
    // A socket that was passed on and is no link yet is looked at when it is one.
    const peers = new Set([...this.#table.peers(), ...this.#tickets.peers()]);
    this.#revoke([...peers].filter((peer) => !this.#options.mayLink(peer)));
  }

  /** Workers say so on their links themselves. */
  close(): void {
    this.#closed = true;
    this.#splicer?.close();
  }

  workerReady(worker: number): void {
    this.#table.addWorker(worker);
    this.#filler.interrupt();
    for (const peer of new Set(this.#deps.control.connections().map((connection) => connection.peer)))
      this.#filler.fill(peer);
  }

  workerGone(worker: number): void {
    const links = this.#table.removeWorker(worker);
    this.#filler.interrupt();
    for (const peer of new Set(links.map((link) => link.peer))) this.#filler.fill(peer);
  }

  linked(worker: number, { number, peer, path, piped }: ToldLink): void {
    // It was told while we took its peer's leave.
    if (!this.#options.mayLink(peer)) return this.#revoke([peer]);
    const since = this.#deps.clock.now();
    const link = new WorkerLink({ peer, path, worker, piped, since }, () => this.#revoke([peer]));
    this.#table.add(number, link);
  }

  unlinked(worker: number, number: number): void {
    const link = this.#table.remove(worker, number);
    if (link !== undefined) this.#filler.ended(link);
  }

  counted(worker: number, streams: ReadonlyMap<number, number>): void {
    for (const [number, count] of streams) {
      const link = this.#table.find(worker, number);
      if (link !== undefined) link.openStreams = count;
    }
  }

  want(peer: PeerId): void {
    if (this.#connectionOf(peer) === undefined) {
      throw new MoatError('LINK_FAILED', 'the peer is not connected', { details: { peer }, retryable: true });
    }
    this.#filler.hurry(peer);
  }

  peersOf(worker: number): ReadonlySet<PeerId> {
    return this.#table.peersOf(worker);
  }

  #mayBegin(peer: PeerId): boolean {
    return !this.#closed && this.#options.mayLink(peer);
  }

  /** Nothing for a ticket whose worker is gone. */
  #spend(preamble: Buffer): SpentTicket | undefined {
    const ticket = this.#tickets.spend(preamble);
    return ticket?.worker !== undefined && this.#table.hasWorker(ticket.worker) ? ticket : undefined;
  }

  /** To the worker that has no link to the peer, or else the oldest. */
  #takeChannel(channel: ByteChannel, { direction, peer, remote }: PeerConnection): void {
    const oldest = this.#table.of(peer)[0]?.worker;
    const worker = this.#table.lacking(peer)[0] ?? oldest;
    if (direction === 'outbound' || worker === undefined || !this.#mayBegin(peer)) return channel.destroy();
    this.#deps.workers.passChannel(worker, channel, peer, remote === null);
  }

  #revoke(peers: readonly PeerId[]): void {
    if (peers.length === 0) return;
    for (const peer of peers) this.#tickets.revoke(peer);
    this.#deps.workers.revoke(peers);
  }

  #connectionOf(peer: PeerId): PeerConnection | undefined {
    if (!this.#mayBegin(peer)) return undefined;
    return this.#deps.control.connections(peer).find(({ direction }) => direction === 'inbound');
  }
}

function refuse(channel: ByteChannel): Promise<never> {
  channel.destroy();
  return Promise.reject(new MoatError('LINK_REFUSED', 'a gateway dials nobody'));
}
