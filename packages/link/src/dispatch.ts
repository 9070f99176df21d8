/**
 * The links of a gateway whose traffic runs in workers: this process gives out the tickets, reads the preamble at the
 * link port, and passes the socket on to the worker that the ticket is for, before TLS begins. It is on the path of new
 * links only; of those that must ride the overlay, whose connection ends here, it passes every byte on.
 */
import { MoatError, errorCode } from '@moat/core';
import type { ByteChannel, Link, LinkPath, PeerConnection, PeerId, Timer } from '@moat/core';
import type { Socket } from 'node:net';

import { createDeadline } from './deadline.ts';
import { Establisher } from './establish.ts';
import { DEFAULT_GUARD_LIMITS, PortGuard } from './guard.ts';
import { LINK_PROTOCOL, LINK_STREAM_PROTOCOL, MAX_TICKETS } from './messages.ts';
import type { LinkService, LinksDeps, LinksOptions } from './pool.ts';
import { DEFAULT_SPLICE_LIMITS } from './splice-limits.ts';
import { Splicer } from './splicer.ts';
import { TicketBook, type SpentTicket } from './ticket.ts';
import { WorkerLink, WorkerTable } from './worker-table.ts';

/** Milliseconds that one peer's answer to an offer, and the first link that follows, may take. */
const FILL_MS = 5000;
/** Milliseconds for the other links of that offer: they are dialed at once, or not at all where none is direct. */
const REST_MS = 1000;
/** Milliseconds before a peer whose worker still has no link is sent another ticket; doubles. */
const REFILL_MIN_MS = 250;
const REFILL_MAX_MS = 60_000;

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

/** A link younger than this that ended is no reason to hurry. */
const YOUNG_MS = 10_000;

/** The tickets that a peer is sent. */
interface Filling {
  timer: Timer | undefined;
  delayMs: number;
  /** While an offer runs: ends the wait for what follows from it. */
  running: AbortController | undefined;
}

/** Bound: one offer a connected peer at a time, and one timer for the next. */
class Dispatcher implements LinkDispatcher {
  readonly #deps: DispatchDeps;
  readonly #options: DispatchOptions;
  readonly #table = new WorkerTable();
  readonly #tickets: TicketBook;
  readonly #establisher: Establisher;
  readonly #splicer: Splicer | undefined;
  readonly #filling = new Map<PeerId, Filling>();
  readonly #stopping = new AbortController();
  #guard: PortGuard | undefined;
  #unsubscribe: () => void = () => undefined;

  constructor(deps: DispatchDeps, options: DispatchOptions) {
    this.#deps = deps;
    this.#options = options;
    const { clock, control, logger } = deps;
    const { mayLink, splice = false } = options;
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
        mayLink,
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
  }

  get port(): number | undefined {
    return this.#guard?.port;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const { clock, control, logger } = this.#deps;
    const { listen, mayLink } = this.#options;
    if (listen !== undefined) {
      const guard = new PortGuard(
        {
          clock,
          logger,
          spend: (preamble) => this.#spend(preamble),
          admit: (socket, ticket) => {
            const { worker } = ticket;
            if (worker === undefined || !mayLink(ticket.peer)) {
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
    this.#unsubscribe = control.onAdmitted(({ peer }) => this.#fill(peer));
  }

  stop(): Promise<void> {
    this.#stopping.abort(new MoatError('LINK_CLOSED', 'this machine stops'));
    this.#unsubscribe();
    for (const { timer } of this.#filling.values()) timer?.cancel();
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

  workerReady(worker: number): void {
    this.#table.addWorker(worker);
    this.#interrupt();
    for (const peer of new Set(this.#deps.control.connections().map((connection) => connection.peer))) this.#fill(peer);
  }

  workerGone(worker: number): void {
    const links = this.#table.removeWorker(worker);
    this.#interrupt();
    for (const peer of new Set(links.map((link) => link.peer))) this.#fill(peer);
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
    if (link === undefined) return;
    const filling = this.#filling.get(link.peer);
    const isYoung = this.#deps.clock.now() - link.since < YOUNG_MS;
    if (filling !== undefined && isYoung) return this.#fillLater(link.peer, filling);
    if (filling !== undefined) filling.delayMs = REFILL_MIN_MS;
    this.#fill(link.peer);
  }

  counted(worker: number, streams: ReadonlyMap<number, number>): void {
    for (const [number, count] of streams) {
      const link = this.#table.find(worker, number);
      if (link !== undefined) link.openStreams = count;
    }
  }

  want(peer: PeerId): void {
    if (!this.#options.mayLink(peer) || this.#connectionOf(peer) === undefined) {
      throw new MoatError('LINK_FAILED', 'the peer is not connected', { details: { peer }, retryable: true });
    }
    const filling = this.#filling.get(peer);
    // Somebody waits: the next offer goes now.
    if (filling !== undefined) filling.delayMs = REFILL_MIN_MS;
    this.#fill(peer);
  }

  peersOf(worker: number): ReadonlySet<PeerId> {
    return this.#table.peersOf(worker);
  }

  /** Nothing for a ticket whose worker is gone. */
  #spend(preamble: Buffer): SpentTicket | undefined {
    const ticket = this.#tickets.spend(preamble);
    return ticket?.worker !== undefined && this.#table.hasWorker(ticket.worker) ? ticket : undefined;
  }

  /** To the worker that has no link to the peer, or else the oldest. */
  #takeChannel(channel: ByteChannel, { direction, peer, remote }: PeerConnection): void {
    const { mayLink } = this.#options;
    const oldest = this.#table.of(peer)[0]?.worker;
    const worker = this.#table.lacking(peer)[0] ?? oldest;
    if (direction === 'outbound' || worker === undefined || !mayLink(peer)) return channel.destroy();
    this.#deps.workers.passChannel(worker, channel, peer, remote === null);
  }

  #revoke(peers: readonly PeerId[]): void {
    if (peers.length === 0) return;
    for (const peer of peers) this.#tickets.revoke(peer);
    this.#deps.workers.revoke(peers);
  }

  #connectionOf(peer: PeerId): PeerConnection | undefined {
    return this.#deps.control.connections(peer).find(({ direction }) => direction === 'inbound');
  }

  #isLacking(peer: PeerId): boolean {
    const isPossible = !this.#stopping.signal.aborted && this.#options.mayLink(peer);
    return isPossible && this.#connectionOf(peer) !== undefined && this.#table.lacking(peer).length > 0;
  }

  /** Sends the peer tickets until every worker has a link to it, or it is gone. */
  #fill(peer: PeerId): void {
    const known = this.#filling.get(peer);
    if (known?.running !== undefined) return;
    known?.timer?.cancel();
    if (!this.#isLacking(peer)) {
      if (this.#connectionOf(peer) === undefined) this.#filling.delete(peer);
      return;
    }
    const filling: Filling = known ?? { timer: undefined, delayMs: REFILL_MIN_MS, running: undefined };
    this.#filling.set(peer, filling);
    const running = new AbortController();
    filling.running = running;
    void this.#offer(peer, running.signal).finally(() => {
      filling.running = undefined;
      // What interrupted it is news.
      if (running.signal.aborted) this.#fill(peer);
      else if (this.#isLacking(peer)) this.#fillLater(peer, filling);
    });
  }

  #fillLater(peer: PeerId, filling: Filling): void {
    if (filling.running !== undefined || this.#stopping.signal.aborted) return;
    filling.timer?.cancel();
    filling.timer = this.#deps.clock.after(filling.delayMs, () => this.#fill(peer));
    filling.delayMs = Math.min(REFILL_MAX_MS, filling.delayMs * 2);
  }

  /** The workers changed: what is waited for may never come. */
  #interrupt(): void {
    for (const { running } of this.#filling.values()) {
      running?.abort(new MoatError('LINK_FAILED', 'the workers changed', { retryable: true }));
    }
  }

  async #offer(peer: PeerId, interrupted: AbortSignal): Promise<void> {
    const connection = this.#connectionOf(peer);
    if (connection === undefined) return;
    using deadline = createDeadline(this.#deps.clock, FILL_MS, AbortSignal.any([this.#stopping.signal, interrupted]));
    const { signal } = deadline;
    const workers = this.#table.lacking(peer);
    try {
      await this.#establisher.over(connection, signal, { workers });
      using rest = createDeadline(this.#deps.clock, REST_MS, signal);
      await this.#linkedAt(peer, workers, rest.signal);
    } catch (error) {
      this.#deps.logger.debug({ peer, connection: connection.id, code: errorCode(error) }, 'no link to a worker yet');
    }
  }

  /** Resolves when each of these workers has a link to the peer, or is gone. */
  async #linkedAt(peer: PeerId, workers: readonly number[], signal: AbortSignal): Promise<void> {
    while (this.#table.lacking(peer).some((worker) => workers.includes(worker))) await this.#table.next(peer, signal);
  }
}

function refuse(channel: ByteChannel): Promise<never> {
  channel.destroy();
  return Promise.reject(new MoatError('LINK_REFUSED', 'a gateway dials nobody'));
}
