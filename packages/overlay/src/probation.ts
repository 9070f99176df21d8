/**
 * Who may do what on a connection. A new one is on probation: it has 5 s to get a reason to stay, and until
 * then only the protocols whose rule says so run. The one wrapper around every handler, libp2p's own
 * included, asks `gate`.
 */
import { MoatError, type Clock, type Logger, type PeerConnection, type PeerId, type Timer } from '@moat/core';
import { OverlayConnection } from './connection.ts';
import { HOP_PROTOCOL, STOP_PROTOCOL } from './relay-wire.ts';
import { TokenBucket } from './token-bucket.ts';
import type { Connection } from '@libp2p/interface';

/**
 * Who may open a protocol: `anyone`; `admitted` = past probation; `standing` = admitted, or held open by a
 * reservation or a relayed connection; or a question of the protocol's own, asked of connections not admitted.
 */
export type Rule = 'anyone' | 'admitted' | 'standing' | ((connection: OverlayConnection) => boolean);

/** Streams of one connection that may wait for its admission; more are reset. */
const MAX_WAITING = 8;
/** Inbound connections of one peer; its oldest is closed. */
const MAX_PER_PEER = 8;
/** Requests a second that one peer may make of us on average; more wait their turn. */
const REQUESTS_PER_SECOND = 50;

export interface ProbationDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly onClosed: (connection: OverlayConnection) => void;
}

export interface ProbationOptions {
  /** Milliseconds a connection may stay without a reason. */
  readonly probationMs: number;
  /** Inbound connections on probation at once, so that strangers leave room for members. */
  readonly maxStrangers: number;
}

/** Bound: as many connections as the host lets in; above 8 of one peer, and `maxStrangers` strangers, the oldest is closed. */
export class Probation {
  readonly #deps: ProbationDeps;
  readonly #options: ProbationOptions;
  readonly #connections = new Map<string, OverlayConnection>();
  /** The same by peer, each list oldest first; none is changed once it was handed out. */
  readonly #byPeer = new Map<PeerId, readonly OverlayConnection[]>();
  readonly #timers = new Map<OverlayConnection, Timer>();
  readonly #listeners = new Set<(connection: PeerConnection) => void>();
  readonly #waiters = new Map<OverlayConnection, (() => void)[]>();

  constructor(deps: ProbationDeps, options: ProbationOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Every open connection, also those on probation. */
  all(): OverlayConnection[] {
    return [...this.#connections.values()];
  }

  /** Every open connection to one peer, oldest first, also those on probation. What closes meanwhile stays in the list. */
  ofPeer(peer: PeerId): readonly OverlayConnection[] {
    return this.#byPeer.get(peer) ?? [];
  }

  /** The same of several peers, the oldest connection first, whoever it leads to. */
  ofPeers(peers: readonly PeerId[]): OverlayConnection[] {
    return peers.flatMap((peer) => this.ofPeer(peer)).sort((a, b) => a.serial - b.serial);
  }

  get(id: string): OverlayConnection | undefined {
    return this.#connections.get(id);
  }

  /** Our record of a libp2p connection; made on first sight, which starts its probation. */
  of(raw: Connection): OverlayConnection {
    const known = this.#connections.get(raw.id);
    if (known !== undefined) return known;
    const siblings = this.ofPeer(raw.remotePeer.toString());
    const requests = siblings[0]?.requests ?? new TokenBucket(this.#deps.clock, REQUESTS_PER_SECOND);
    const connection = new OverlayConnection(raw, requests);
    this.#connections.set(raw.id, connection);
    this.#byPeer.set(connection.peer, [...siblings, connection]);
    this.#arm(connection);
    connection.closed.addEventListener('abort', () => this.#forget(connection), { once: true });
    if (raw.status !== 'open') connection.markClosed();
    else if (connection.direction === 'inbound') this.#makeRoom(connection.peer);
    return connection;
  }

  /** Ends probation. Listeners hear of it once, at the first reason. */
  admit(connection: OverlayConnection, reason: string): void {
    if (connection.closed.aborted) return;
    const first = !connection.admitted;
    connection.reasons.add(reason);
    if (!first) return;
    this.#timers.get(connection)?.cancel();
    this.#timers.delete(connection);
    this.#deps.logger.debug({ peer: connection.peer, connection: connection.id, reason }, 'connection admitted');
    this.#decided(connection);
    for (const listener of this.#listeners) listener(connection);
  }

  /** Takes a reason back; with none left nothing of ours runs on it any more, so it closes. */
  withdraw(connection: OverlayConnection, reason: string): void {
    if (!connection.reasons.delete(reason) || connection.admitted) return;
    if (connection.holds > 0) return this.#resetStreams(connection);
    this.close(connection, 'no reason to stay');
  }

  /** Takes a reason back; with none left the connection is on probation again, as a new one is. */
  lapse(connection: OverlayConnection, reason: string): void {
    if (!connection.reasons.delete(reason) || connection.admitted || connection.closed.aborted) return;
    if (connection.holds === 0 && !this.#timers.has(connection)) this.#arm(connection);
  }

  /** Keeps a connection open without admitting it, until the returned function is called. */
  hold(connection: OverlayConnection): () => void {
    connection.holds += 1;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      connection.holds -= 1;
      if (connection.holds === 0 && !connection.admitted && !this.#timers.has(connection)) this.#arm(connection);
    };
  }

  /** Runs a request of ours whose answer may admit the connection; it stays open meanwhile. */
  async during<T>(connection: OverlayConnection, work: () => Promise<T>): Promise<T> {
    const release = this.hold(connection);
    connection.pending += 1;
    try {
      return await work();
    } finally {
      connection.pending -= 1;
      release();
      if (connection.pending === 0) this.#decided(connection);
    }
  }

  /**
   * Resolves when a stream may go on. @throws `PROTOCOL_UNSUPPORTED` when it may not: the stream is reset.
   * While a request of ours may still admit the connection, up to {@link MAX_WAITING} streams wait for it.
   */
  async gate(connection: OverlayConnection, rule: Rule): Promise<void> {
    if (this.#allows(connection, rule)) return;
    if (connection.pending === 0 || connection.waiting >= MAX_WAITING) throw refused();
    connection.waiting += 1;
    try {
      await this.#decision(connection);
    } finally {
      connection.waiting -= 1;
    }
    if (!this.#allows(connection, rule)) throw refused();
  }

  onAdmitted(listener: (connection: PeerConnection) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when the connection is admitted, closed, or nothing of ours is pending on it. */
  #decision(connection: OverlayConnection): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiters = this.#waiters.get(connection) ?? [];
    waiters.push(resolve);
    this.#waiters.set(connection, waiters);
    return promise;
  }

  #decided(connection: OverlayConnection): void {
    const waiters = this.#waiters.get(connection) ?? [];
    this.#waiters.delete(connection);
    for (const resolve of waiters) resolve();
  }

  #allows(connection: OverlayConnection, rule: Rule): boolean {
    if (connection.closed.aborted) return false;
    if (connection.admitted || rule === 'anyone') return true;
    if (rule === 'standing') return stands(connection);
    return typeof rule === 'function' && rule(connection);
  }

  close(connection: OverlayConnection, why: string): void {
    this.#deps.logger.debug({ peer: connection.peer, connection: connection.id, why }, 'connection closed');
    connection.raw.abort(new Error(why));
    connection.markClosed();
  }

  #makeRoom(peer: PeerId): void {
    const same = this.ofPeer(peer).filter(({ direction }) => direction === 'inbound');
    if (same.length > MAX_PER_PEER && same[0] !== undefined) this.close(same[0], 'too many connections of one peer');
    // all strangers have a timer: most often that says enough
    if (this.#timers.size <= this.#options.maxStrangers) return;
    const strangers = [...this.#timers.keys()].filter(
      (connection) => connection.direction === 'inbound' && !stands(connection),
    );
    const [oldest] = strangers;
    if (oldest !== undefined && strangers.length > this.#options.maxStrangers) this.close(oldest, 'too many strangers');
  }

  #resetStreams(connection: OverlayConnection): void {
    for (const stream of connection.raw.streams) {
      if (stream.protocol.startsWith('/moat/')) stream.abort(new Error('no longer admitted'));
    }
  }

  #arm(connection: OverlayConnection): void {
    this.#timers.set(
      connection,
      this.#deps.clock.after(this.#options.probationMs, () => {
        this.#timers.delete(connection);
        if (connection.admitted || connection.holds > 0) return;
        // a relayed connection runs through it; look again later
        if (stands(connection)) return this.#arm(connection);
        this.close(connection, 'probation ended');
      }),
    );
  }

  #forget(connection: OverlayConnection): void {
    this.#connections.delete(connection.id);
    const left = this.ofPeer(connection.peer).filter((one) => one !== connection);
    if (left.length > 0) this.#byPeer.set(connection.peer, left);
    else this.#byPeer.delete(connection.peer);
    this.#timers.get(connection)?.cancel();
    this.#timers.delete(connection);
    this.#decided(connection);
    this.#deps.onClosed(connection);
  }
}

/**
 * True when something keeps the connection open: an admission, a hold, or a relayed connection of ours through it.
 * What strangers relay through an anchor is held by the anchor, once it runs.
 */
export function stands(connection: OverlayConnection): boolean {
  return (
    connection.admitted ||
    connection.holds > 0 ||
    connection.raw.streams.some(({ protocol, direction }) =>
      direction === 'outbound' ? protocol === HOP_PROTOCOL || protocol === STOP_PROTOCOL : protocol === STOP_PROTOCOL,
    )
  );
}

/** Of several connections to one peer the one to talk on: a direct one, the newest of them; an old one may be dead. */
export function bestOfEach(connections: readonly OverlayConnection[]): OverlayConnection[] {
  const best = new Map<PeerId, OverlayConnection>();
  for (const connection of connections) {
    const other = best.get(connection.peer);
    if (other === undefined || other.relayed || !connection.relayed) best.set(connection.peer, connection);
  }
  return [...best.values()];
}

function refused(): MoatError<'PROTOCOL_UNSUPPORTED'> {
  return new MoatError('PROTOCOL_UNSUPPORTED', 'this connection is on probation');
}
