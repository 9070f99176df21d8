/**
 * What becomes of a channel that stands: a new link, or another path for one that is there. A link between two members
 * can move; one with a gateway ends with its socket, as a gateway has a public address and its members redial at once.
 */
import { randomBytes } from 'node:crypto';

import { MoatError, errorCode } from '@moat/core';
import type { ByteChannel, Clock, Link, Logger, PeerId, StreamAcceptor } from '@moat/core';

import { ResumableChannel } from './channel.resumable.ts';
import { LINK_ID_BYTES, encodeGreeting, readGreeting, silence, type Greeting } from './greeting.ts';
import { MEMBER_HEARTBEAT } from './heartbeat.ts';
import { DEFAULT_LIMITS, type SessionLimits } from './limits.ts';
import { PATHS, type Roster, type Transport } from './roster.ts';
import { Session } from './session.ts';
import type { LinkKind } from './ticket.ts';
import { limitsOf } from './transport.overlay.ts';

/**
 * Links of one peer that can move: each may keep 32 MiB for it and hold 64 MiB of it. One runs; the others were worn, or
 * crossed it, and end with their streams. Beyond it the oldest ends with `LINK_LIMIT`.
 */
const MAX_MOVABLE_PER_PEER = 4;
/** Milliseconds for the greeting of a channel that a peer dialed. */
const GREETING_MS = 3000;

export interface BirthsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly roster: Roster;
  readonly accept: StreamAcceptor;
  /** True when a link with `peer` may stand now; asked for every channel, also of a link that moves. */
  readonly mayLink: (peer: PeerId) => boolean;
  /** True for a link that is to be replaced, not moved. */
  readonly isWorn: (session: Session) => boolean;
  readonly onWorn: (session: Session) => void;
  /** The link has no path, or one that does not answer. */
  readonly onPathless: (session: Session) => void;
  /** It stands now, or goes on over another path. */
  readonly onStands: (session: Session) => void;
  readonly onEnded: (session: Session) => void;
}

export interface BirthsOptions {
  /** What we are as an acceptor. */
  readonly kind: LinkKind;
  readonly limits: Partial<SessionLimits>;
}

interface Movable {
  readonly session: Session;
  readonly channel: ResumableChannel;
}

/** Bound: one entry a link of the roster, 4 a peer; the oldest gives way. */
export class Births {
  readonly #deps: BirthsDeps;
  readonly #options: BirthsOptions;
  /** Links that can move, by id. */
  readonly #movable = new Map<string, Movable>();
  /** Those whose peer has no path any more: any that stands is better. */
  readonly #peerLost = new WeakSet<Session>();

  constructor(deps: BirthsDeps, options: BirthsOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** How a channel that this side dialed is used. @throws `LINK_REFUSED`, and what a move throws */
  async dialed(channel: ByteChannel, peer: PeerId, transport: Transport, kind: LinkKind): Promise<Link> {
    if (!this.#deps.mayLink(peer)) throw refused(channel, peer);
    if (kind === 'gateway') return this.#stands(this.#session(channel, undefined, peer, transport, true), transport);
    const running = this.#runningWith(peer);
    if (running === undefined) {
      const id = randomBytes(LINK_ID_BYTES).toString('base64url');
      channel.write(encodeGreeting({ kind: 'begins', id, received: 0 }));
      return this.#begin(channel, id, peer, transport, true);
    }
    const { session } = running;
    if (!this.wants(session, transport)) {
      channel.destroy();
      return session;
    }
    await running.channel.move(channel);
    this.#moved(running, transport);
    return session;
  }

  /** How a channel that the peer dialed is used; resolves when that is settled. @throws `LINK_REFUSED`, `FRAME_INVALID`, … */
  async accepted(channel: ByteChannel, peer: PeerId, transport: Transport): Promise<void> {
    const { clock, mayLink } = this.#deps;
    if (!mayLink(peer)) throw refused(channel, peer);
    if (this.#options.kind === 'gateway') {
      return void this.#stands(this.#session(channel, undefined, peer, transport, false), transport);
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = clock.after(GREETING_MS, () => {
      silence(channel);
      channel.destroy();
      reject(new MoatError('HANDSHAKE_TIMEOUT', 'the peer said nothing on its channel', { retryable: true }));
    });
    readGreeting(
      channel,
      (greeting) => {
        try {
          resolve(this.#greeted(channel, greeting, peer, transport));
        } catch (error) {
          reject(error);
        }
      },
      reject,
    );
    try {
      await promise;
    } finally {
      timer.cancel();
    }
  }

  /** True when a link would go on over `transport` if it stood. */
  wants(session: Session, transport: Transport): boolean {
    const movable = this.#of(session);
    if (movable === undefined) return false;
    return this.isPathless(session) || this.#peerLost.has(session) || this.#deps.roster.isBetter(transport, session);
  }

  /** True while a link that can move has no path, or one that does not answer. */
  isPathless(session: Session): boolean {
    const movable = this.#of(session);
    return movable !== undefined && (movable.channel.lost || session.suspect);
  }

  /** The peer says that it has no path to us. */
  peerLost(peer: PeerId): void {
    const running = this.#runningWith(peer);
    if (running !== undefined) this.#peerLost.add(running.session);
  }

  #greeted(channel: ByteChannel, { kind, id, received }: Greeting, peer: PeerId, transport: Transport): void {
    const known = this.#movable.get(id);
    // It may have been allowed when the channel was accepted, and not be any more.
    if (!this.#deps.mayLink(peer)) throw refused(channel, peer);
    if (kind === 'begins' && known === undefined) {
      this.#endForgotten(peer);
      this.#begin(channel, id, peer, transport, false);
      return;
    }
    if (kind === 'goes on' && known?.session.peer === peer && known.session.movable) {
      if (!known.channel.take(channel, received)) throw refused(channel, peer);
      return this.#moved(known, transport);
    }
    channel.write(encodeGreeting({ kind: 'unknown', id, received: 0 }));
    silence(channel);
    channel.end();
    throw new MoatError('LINK_LOST', 'the peer goes on with a link that is not its own here', { details: { peer } });
  }

  /** A peer that begins anew has lost what it had before: a link of it without a path waits for nobody. */
  #endForgotten(peer: PeerId): void {
    for (const { session, channel } of this.#movable.values()) {
      if (session.peer === peer && channel.lost) session.close('LINK_LOST');
    }
  }

  #endOldest(peer: PeerId): void {
    const ofPeer = [...this.#movable.values()].filter(({ session }) => session.peer === peer);
    if (ofPeer.length >= MAX_MOVABLE_PER_PEER) ofPeer[0]?.session.close('LINK_LIMIT');
  }

  #begin(channel: ByteChannel, id: string, peer: PeerId, transport: Transport, dialer: boolean): Session {
    this.#endOldest(peer);
    const resumable = new ResumableChannel(
      {
        clock: this.#deps.clock,
        onLost: () => {
          // Who takes no new streams is not worth another path.
          if (session.movable) this.#deps.onPathless(session);
          else session.close('LINK_CLOSED');
        },
      },
      { id, wins: dialer },
      channel,
    );
    const session = this.#session(resumable, resumable, peer, transport, dialer);
    this.#movable.set(id, { session, channel: resumable });
    session.closed.addEventListener('abort', () => this.#movable.delete(id), { once: true });
    return this.#stands(session, transport);
  }

  #session(
    channel: ByteChannel,
    resumable: ResumableChannel | undefined,
    peer: PeerId,
    transport: Transport,
    dialer: boolean,
  ): Session {
    const { clock, logger, accept, roster, onWorn } = this.#deps;
    const ofPath = limitsOf(transport);
    // A link that can move is not made anew to get a better path.
    const renew = resumable !== undefined && ofPath.renewMs !== undefined ? { renewMs: DEFAULT_LIMITS.renewMs } : {};
    const rare = resumable === undefined ? {} : { heartbeat: MEMBER_HEARTBEAT };
    const limits = { ...ofPath, ...renew, ...rare, ...this.#options.limits, ...windowOf(ofPath) };
    return new Session(
      {
        channel,
        ...(resumable === undefined ? {} : { resumable }),
        clock,
        logger,
        accept,
        onClosed: (closed) => {
          roster.remove(closed);
          this.#deps.onEnded(closed);
          logger.debug({ peer, path: closed.path, code: errorCode(closed.closed.reason) }, 'a link ended');
        },
        onWorn,
        ...(resumable === undefined ? {} : { onSuspect: this.#deps.onPathless }),
      },
      { peer, path: PATHS[transport], dialer, limits },
    );
  }

  #stands(session: Session, transport: Transport): Session {
    this.#deps.logger.debug({ peer: session.peer, path: session.path }, 'a link stands');
    this.#deps.roster.add(session, transport);
    this.#deps.onStands(session);
    return session;
  }

  #moved({ session }: Movable, transport: Transport): void {
    const { logger, roster, onStands } = this.#deps;
    this.#peerLost.delete(session);
    roster.moved(session, transport);
    const { linkWindowBytes = DEFAULT_LIMITS.linkWindowBytes } = { ...this.#options.limits, ...limitsOf(transport) };
    session.moved(PATHS[transport], linkWindowBytes);
    logger.debug({ peer: session.peer, path: session.path }, 'a link goes on over another path');
    onStands(session);
  }

  /** The link with `peer` that another channel belongs to. */
  #runningWith(peer: PeerId): Movable | undefined {
    let found: Movable | undefined;
    for (const movable of this.#movable.values()) {
      const { session } = movable;
      if (session.peer === peer && session.movable && !this.#deps.isWorn(session)) found = movable;
    }
    return found;
  }

  #of(session: Session): Movable | undefined {
    for (const movable of this.#movable.values()) if (movable.session === session) return movable;
    return undefined;
  }
}

/** Both sides must agree on the window, so no option of one side changes what the transport says. */
function windowOf({ linkWindowBytes }: Partial<SessionLimits>): Partial<SessionLimits> {
  return linkWindowBytes === undefined ? {} : { linkWindowBytes };
}

function refused(channel: ByteChannel, peer: PeerId): MoatError<'LINK_REFUSED'> {
  silence(channel);
  channel.destroy();
  return new MoatError('LINK_REFUSED', 'one side may not have this link now', { details: { peer }, retryable: true });
}
