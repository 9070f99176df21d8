/**
 * The links of one traffic worker of a gateway: it is handed sockets and channels whose peers the control process knows,
 * proves them, and carries streams. It never learns of tickets, connections or addresses.
 */
import type { Socket } from 'node:net';

import { errorCode } from '@moat/core';
import type { ByteChannel, Clock, Link, Links, Logger, PeerId, StreamAcceptor } from '@moat/core';

import { Births } from './births.ts';
import { DEFAULT_GUARD_LIMITS, handshakeError } from './guard.ts';
import { Roster, type Transport } from './roster.ts';
import type { Session } from './session.ts';
import type { SpentTicket } from './ticket.ts';
import { acceptTls } from './transport.tls.ts';

/** Sockets that are not links yet; the control process hands over one a ticket, so more are a fault. */
const MAX_UNFINISHED = 2048;
/** Milliseconds after which a worn link that its dialer did not replace is retired. */
const RENEW_GRACE_MS = 600_000;

export interface WorkerLinksDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  /** The gateway's own PeerId. */
  readonly self: PeerId;
  /** Has the peer sent a ticket for this worker. @throws where the peer cannot be asked now */
  readonly ask: (peer: PeerId, signal: AbortSignal) => Promise<void>;
  /** Takes streams that members open. @defaultValue they are reset with `SERVICE_UNKNOWN` */
  readonly accept?: StreamAcceptor;
}

/** What a worker's links are besides {@link Links}. */
export interface WorkerLinks extends Links {
  /** Makes a link of a socket whose preamble was read elsewhere; destroys it where that fails within 3 s. */
  acceptSocket(socket: Socket, ticket: SpentTicket): void;
  /** Makes a link of a channel that another process pipes here. */
  acceptChannel(channel: ByteChannel, peer: PeerId, relayed: boolean): void;
  /** Closes with `LINK_REVOKED` what these peers have, and what is being made for them. */
  revoke(peers: readonly PeerId[]): void;
  /** No new links; those that stand end with their streams. */
  close(): void;
  /** Ends everything; resolves when the last frames are out. */
  stop(): Promise<void>;
}

/** Links of this process; nothing is opened. */
export function createWorkerLinks(deps: WorkerLinksDeps): WorkerLinks {
  return new HandedLinks({ ...deps, logger: deps.logger.child({ component: 'link.worker' }) });
}

/** Bounds: 2048 sockets that are not links yet, newest refused; of a peer the newest link stays, older ones end with their streams. */
class HandedLinks implements WorkerLinks {
  readonly #deps: WorkerLinksDeps;
  readonly #roster: Roster;
  readonly #births: Births;
  /** Peers that something was handed over for and that were not revoked since. */
  readonly #welcome = new Set<PeerId>();
  readonly #asking = new Map<PeerId, Promise<void>>();
  readonly #wornSince = new WeakMap<Session, number>();
  #unfinished = 0;
  #closed = false;

  constructor(deps: WorkerLinksDeps) {
    this.#deps = deps;
    const { clock, logger } = deps;
    this.#roster = new Roster(deps.self);
    this.#births = new Births(
      {
        clock,
        logger,
        roster: this.#roster,
        accept: deps.accept ?? ((stream) => stream.reset('SERVICE_UNKNOWN')),
        mayLink: (peer) => !this.#closed && this.#welcome.has(peer),
        isWorn: (session) => this.#wornSince.has(session),
        onWorn: (session) => this.#onWorn(session),
        onPathless: () => undefined,
        onStands: (session) => this.#retireOlder(session),
        onEnded: () => undefined,
      },
      { kind: 'gateway', limits: {} },
    );
  }

  get(peer: PeerId): Link | undefined {
    return this.#roster.best(peer);
  }

  list(): readonly Link[] {
    return this.#roster.list();
  }

  onLink(listener: (link: Link) => void): () => void {
    return this.#roster.onLink(listener);
  }

  async connect(peer: PeerId, signal: AbortSignal): Promise<Link> {
    signal.throwIfAborted();
    const best = this.#roster.best(peer);
    if (best !== undefined) return best;
    const refused = new AbortController();
    const next = this.#roster.next(peer, AbortSignal.any([signal, refused.signal]));
    next.catch(() => undefined);
    try {
      await this.#ask(peer);
    } catch (error) {
      refused.abort(error);
    }
    return next;
  }

  acceptSocket(socket: Socket, ticket: SpentTicket): void {
    const { clock, logger } = this.#deps;
    const { peer } = ticket;
    socket.on('error', ignore);
    if (this.#closed || this.#unfinished >= MAX_UNFINISHED) return void socket.resetAndDestroy();
    this.#unfinished += 1;
    this.#welcome.add(peer);
    const timer = clock.after(DEFAULT_GUARD_LIMITS.finishMs, () => socket.destroy());
    const closed = new Promise<never>((_resolve, reject) => {
      socket.once('close', () => reject(handshakeError('HANDSHAKE_TIMEOUT', 'the socket closed before its handshake')));
    });
    closed.catch(() => undefined);
    Promise.race([acceptTls(socket, ticket), closed])
      .then((channel) => this.#births.accepted(channel, peer, 'tls'))
      .catch((error: unknown) => {
        logger.debug({ peer, code: errorCode(error) }, 'a link socket was refused');
        socket.destroy();
      })
      .finally(() => {
        timer.cancel();
        this.#unfinished -= 1;
      });
  }

  acceptChannel(channel: ByteChannel, peer: PeerId, relayed: boolean): void {
    if (this.#closed) return channel.destroy();
    this.#welcome.add(peer);
    const transport: Transport = relayed ? 'overlay-relayed' : 'overlay';
    this.#births.accepted(channel, peer, transport).catch((error: unknown) => {
      this.#deps.logger.debug({ peer, code: errorCode(error) }, 'a link over the overlay was refused');
    });
  }

  revoke(peers: readonly PeerId[]): void {
    const revoked = new Set(peers);
    for (const peer of revoked) this.#welcome.delete(peer);
    for (const link of this.#roster.list()) if (revoked.has(link.peer)) link.close('LINK_REVOKED');
  }

  close(): void {
    this.#closed = true;
    for (const link of this.#roster.list()) link.close();
  }

  async stop(): Promise<void> {
    this.#closed = true;
    const links = this.#roster.list();
    for (const link of links) link.close('LINK_CLOSED');
    await Promise.all(links.map((link) => link.gone));
  }

  /** One question a peer at a time, shared by all requests that wait for it. */
  #ask(peer: PeerId): Promise<void> {
    const running = this.#asking.get(peer);
    if (running !== undefined) return running;
    const signal = AbortSignal.timeout(DEFAULT_GUARD_LIMITS.finishMs);
    const asking = this.#deps.ask(peer, signal).finally(() => this.#asking.delete(peer));
    this.#asking.set(peer, asking);
    return asking;
  }

  /** A worker needs one link to each peer: the newest over the best transport. */
  #retireOlder(link: Session): void {
    if (this.#roster.best(link.peer) !== link) return;
    for (const other of this.#roster.list()) if (other !== link && other.peer === link.peer) other.close();
  }

  /** Its dialer makes the one that follows. */
  #onWorn(link: Session): void {
    const now = this.#deps.clock.now();
    const since = this.#wornSince.get(link) ?? now;
    this.#wornSince.set(link, since);
    if (now - since >= RENEW_GRACE_MS) link.close();
  }
}

const ignore = (): void => undefined;
