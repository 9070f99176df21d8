/** All links of this machine: one made for whoever asks first, shared by all, replaced when it is worn or a better one stands. */
import { MoatError, errorCode } from '@moat/core';
import type {
  Clock,
  ControlPlane,
  Link,
  Links,
  Logger,
  PeerConnection,
  PeerId,
  Service,
  StreamAcceptor,
} from '@moat/core';

import { Births } from './births.ts';
import { createDeadline, orAborted } from './deadline.ts';
import { Establisher } from './establish.ts';
import { DEFAULT_GUARD_LIMITS, PortGuard, type GuardLimits } from './guard.ts';
import type { SessionLimits } from './limits.ts';
import { LINK_PROTOCOL } from './messages.ts';
import { Roster, type Transport } from './roster.ts';
import { Seeker } from './seeker.ts';
import type { Session } from './session.ts';
import { SpliceDialer, type LinkAnchors } from './splice-dial.ts';
import { DEFAULT_SPLICE_LIMITS, type SpliceLimits } from './splice-limits.ts';
import { Splicer } from './splicer.ts';
import { TicketBook } from './ticket.ts';
import { serveOverlay } from './transport.overlay.ts';
import { acceptTls } from './transport.tls.ts';

/** Connections that one attempt tries. */
const MAX_CONNECTIONS = 8;
/** Milliseconds for everything that `connect` does. */
const CONNECT_MS = 15_000;
/** Connections tried at once for a link without a path. */
const MAX_RESCUES = 4;
/** Milliseconds between attempts to replace a worn link. */
const RENEW_RETRY_MS = 60_000;
/** Milliseconds after which the acceptor retires a worn link that its dialer did not replace. */
const RENEW_GRACE_MS = 600_000;

/** What links are made of. */
export interface LinksDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: ControlPlane;
  /** Gets every stream that a peer opens; listens to it or resets it before it returns. */
  readonly accept: StreamAcceptor;
  /** Where links may be spliced; without it they are direct or ride the overlay. */
  readonly anchors?: LinkAnchors;
}

/** How this machine links. */
export interface LinksOptions {
  /** A gateway only ever accepts links; a member also dials them. */
  readonly role: 'member' | 'gateway';
  /** True when a link with `peer` may stand now; asked at every step and again by {@link LinkService.recheck}. */
  readonly mayLink: (peer: PeerId) => boolean;
  /** The TCP port for direct links; port 0 takes a free one. Without it links ride the overlay or are dialed. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** The port at which others reach `listen`, where a router or a container maps it. @defaultValue the port itself */
  readonly announcePort?: number;
  /** Milliseconds a direct socket gets before a link rides the overlay. @defaultValue 1000 */
  readonly directMs?: number;
  /** Bounds of each link; both sides of a link must agree on `linkWindowBytes`. */
  readonly limits?: Partial<SessionLimits>;
  /** Bounds of sockets that are not links yet. */
  readonly guard?: Partial<GuardLimits>;
  /** Serves `/moat/splice/1` to anyone, and joins sockets at `listen`: this machine is an anchor. @defaultValue false */
  readonly splice?: boolean | Partial<SpliceLimits>;
}

/** The running links; `start` opens the port and serves `/moat/link/1`. */
export interface LinkService extends Service, Links {
  /** The link port, once started with `listen`. */
  readonly port: number | undefined;
  /** Closes with `LINK_REVOKED` every link whose peer may no longer have one. Call it when a contract changed. */
  recheck(): void;
  /** No new links or splices; those that stand end with their streams. */
  close(): void;
}

/** Links over `control`; nothing is opened before `start`. */
export function createLinks(deps: LinksDeps, options: LinksOptions): LinkService {
  return new Pool({ ...deps, logger: deps.logger.child({ component: 'link.pool' }) }, options);
}

/** Bound: one attempt a peer at a time, shared by all who ask; links a peer: see the roster. */
class Pool implements LinkService {
  readonly #deps: LinksDeps;
  readonly #options: LinksOptions;
  readonly #roster: Roster;
  readonly #tickets: TicketBook;
  readonly #establisher: Establisher;
  readonly #stopping = new AbortController();
  readonly #attempts = new Map<PeerId, Promise<Link>>();
  /** When a worn link may be replaced next; only links that are worn. */
  readonly #worn = new WeakMap<Session, { readonly since: number; retryAt: number }>();
  readonly #births: Births;
  readonly #seeker: Seeker;
  readonly #splicer: Splicer | undefined;
  #guard: PortGuard | undefined;
  #unsubscribe: () => void = () => undefined;
  #closed = false;
  #stopped: Promise<void> | undefined;

  constructor(deps: LinksDeps, options: LinksOptions) {
    this.#deps = deps;
    this.#options = options;
    const { clock, control, logger } = deps;
    this.#roster = new Roster(control.self);
    this.#tickets = new TicketBook({ clock, self: control.self, kind: options.role });
    const port = (): number | undefined => (this.port === undefined ? undefined : (options.announcePort ?? this.port));
    const { splice = false } = options;
    if (splice !== false) {
      const limits = { ...DEFAULT_SPLICE_LIMITS, ...(splice === true ? {} : splice) };
      this.#splicer = new Splicer({ clock, logger, control, port }, limits);
    }
    const { accept, anchors } = deps;
    this.#seeker = new Seeker({
      clock,
      logger,
      isPathless: (session) => this.#births.isPathless(session),
      mayImprove: (session) => this.#births.wants(session, 'tls'),
      rescue: ({ peer }) => this.#rescue(peer),
      improve: ({ peer }) => this.#improve(peer),
    });
    this.#births = new Births(
      {
        clock,
        logger,
        accept,
        roster: this.#roster,
        mayLink: (peer) => this.#mayBegin(peer),
        isWorn: (session) => this.#worn.has(session),
        onWorn: (session) => this.#onWorn(session),
        onPathless: (session) => this.#seeker.lost(session),
        onStands: (session) => this.#seeker.stands(session),
        onEnded: (session) => this.#seeker.forget(session),
      },
      { kind: options.role, limits: options.limits ?? {} },
    );
    this.#establisher = new Establisher(
      {
        clock,
        logger,
        control,
        tickets: this.#tickets,
        splices: anchors && new SpliceDialer({ clock, control, anchors }),
        mayLink: (peer) => this.#mayBegin(peer),
        port,
        onChannel: (channel, connection, transport, kind) =>
          this.#births.dialed(
            channel,
            connection.peer,
            transport === 'overlay' ? overlayOf(connection) : transport,
            kind,
          ),
        onSpliced: (channel, peer) => this.#births.accepted(channel, peer, 'spliced'),
        onPeerLost: (peer) => this.#births.peerLost(peer),
        current: (peer, maxAgeMs) => this.#isCurrent(peer, maxAgeMs),
        next: (peer, signal) => this.#roster.next(peer, signal),
      },
      { kind: options.role, directMs: options.directMs ?? 1000, stopped: this.#stopping.signal },
    );
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
          spend: (preamble) => this.#tickets.spend(preamble),
          admit: async (socket, ticket) => {
            if (!this.#mayBegin(ticket.peer)) throw new MoatError('LINK_REFUSED', 'no link with this peer now');
            await this.#births.accepted(await acceptTls(socket, ticket), ticket.peer, 'tls');
          },
          splice: (preamble, socket) => this.#splicer?.take(preamble, socket) ?? false,
        },
        { ...DEFAULT_GUARD_LIMITS, ...this.#options.guard },
      );
      await guard.listen(listen.host, listen.port);
      this.#guard = guard;
    }
    this.#splicer?.serve();
    control.handle(LINK_PROTOCOL, (stream) => this.#establisher.serve(stream), { audience: 'admitted' });
    serveOverlay(control, (channel, connection) => {
      const { direction, peer } = connection;
      if (direction === 'outbound') return channel.destroy();
      this.#births.accepted(channel, peer, overlayOf(connection)).catch((error: unknown) => {
        logger.debug(
          { peer, connection: connection.id, code: errorCode(error) },
          'a link over the overlay was refused',
        );
      });
    });
    this.#unsubscribe = control.onAdmitted((connection) => this.#upgrade(connection));
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
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
    const made = await orAborted(this.#attempt(peer), signal);
    // What was made may have given way to a link that the peer made at the same time.
    return this.#roster.best(peer) ?? made;
  }

  recheck(): void {
    const revoked = new Set<PeerId>();
    for (const link of this.#roster.list()) {
      if (this.#options.mayLink(link.peer)) continue;
      revoked.add(link.peer);
      link.close('LINK_REVOKED');
    }
    for (const peer of revoked) this.#tickets.revoke(peer);
  }

  close(): void {
    this.#closed = true;
    this.#splicer?.close();
    for (const link of this.#roster.list()) link.close();
  }

  #mayBegin(peer: PeerId): boolean {
    return !this.#closed && !this.#stopping.signal.aborted && this.#options.mayLink(peer);
  }

  /** The attempt to link with `peer` that runs, or a new one; its callers come and go. */
  #attempt(peer: PeerId): Promise<Link> {
    const running = this.#attempts.get(peer);
    if (running !== undefined) return running;
    const attempt = this.#establish(peer).finally(() => this.#attempts.delete(peer));
    this.#attempts.set(peer, attempt);
    attempt.catch(() => undefined);
    return attempt;
  }

  /**
   * Tries each open connection, then a new one; also one that has come meanwhile, as a relayed connection is given back as
   * soon as a direct one stands. @throws the error of the last try
   */
  async #establish(peer: PeerId): Promise<Link> {
    const { clock, control, logger } = this.#deps;
    if (!this.#mayBegin(peer)) {
      throw new MoatError('LINK_REFUSED', 'no link with this peer now', { details: { peer } });
    }
    using deadline = createDeadline(clock, CONNECT_MS, this.#stopping.signal);
    const tried = new Set<string>();
    const next = async (): Promise<PeerConnection | undefined> => {
      const open = control.connections(peer).find(({ id }) => !tried.has(id));
      if (open !== undefined || this.#options.role !== 'member') return open;
      const connected = await control.connect(peer, deadline.signal);
      return tried.has(connected.id) ? undefined : connected;
    };
    let failure: Error = new MoatError('LINK_FAILED', 'the peer is not connected', {
      details: { peer },
      retryable: true,
    });
    for (let tries = 0; tries < MAX_CONNECTIONS; tries++) {
      const connection = await next();
      if (connection === undefined) break;
      try {
        tried.add(connection.id);
        return await this.#establisher.over(connection, deadline.signal);
      } catch (error) {
        deadline.signal.throwIfAborted();
        failure = error as Error;
        logger.debug({ peer, connection: connection.id, code: errorCode(error) }, 'no link over this connection');
      }
    }
    throw failure;
  }

  /** True when a link to `peer` is being made, or was made just now. */
  #isCurrent(peer: PeerId, maxAgeMs: number): boolean {
    const best = this.#roster.best(peer);
    return this.#attempts.has(peer) || (best !== undefined && this.#deps.clock.now() - best.createdAt < maxAgeMs);
  }

  /** A relayed or spliced link is replaced as soon as a direct connection stands; its streams run on until they end. */
  #upgrade(connection: PeerConnection): void {
    const { peer, direction, remote } = connection;
    const transport = this.#roster.bestTransport(peer);
    if (remote === null || direction !== 'outbound') return;
    if (transport !== 'overlay-relayed' && transport !== 'spliced') return;
    this.#establisher.over(connection, this.#stopping.signal, { directOnly: true }).catch((error: unknown) => {
      this.#deps.logger.debug({ peer, connection: connection.id, code: errorCode(error) }, 'the link stays as it is');
    });
  }

  /** Any path for a link that has none: every connection at once, as those that lead nowhere take long to say so. */
  async #rescue(peer: PeerId): Promise<void> {
    const { clock, control } = this.#deps;
    using deadline = createDeadline(clock, CONNECT_MS, this.#stopping.signal);
    const { signal } = deadline;
    const over = (connection: PeerConnection): Promise<Link> =>
      this.#establisher.over(connection, signal, { lost: true });
    try {
      await Promise.any(control.connections(peer).slice(0, MAX_RESCUES).map(over));
    } catch {
      if (this.#options.role === 'member') await over(await control.connect(peer, signal));
    }
  }

  /** A direct path where one stands, and the overlay's own attempt at one, which {@link #upgrade} hears of. */
  async #improve(peer: PeerId): Promise<void> {
    const { clock, control } = this.#deps;
    using deadline = createDeadline(clock, CONNECT_MS, this.#stopping.signal);
    const { signal } = deadline;
    control.improve(peer);
    const direct = control
      .connections(peer)
      .find(({ remote, direction }) => remote !== null && direction === 'outbound');
    if (direct !== undefined) await this.#establisher.over(direct, signal, { directOnly: true });
  }

  /** Makes the link that follows a worn one; streams that run stay on the old one until they end. */
  #onWorn(link: Session): void {
    const now = this.#deps.clock.now();
    const state = this.#worn.get(link) ?? { since: now, retryAt: link.dialer ? now : now + RENEW_GRACE_MS };
    this.#worn.set(link, state);
    if (now < state.retryAt) return;
    if (!link.dialer) return link.close();
    state.retryAt = now + RENEW_RETRY_MS;
    this.#attempt(link.peer).then(
      () => link.close(),
      (error: unknown) => {
        this.#deps.logger.debug({ peer: link.peer, code: errorCode(error) }, 'a worn link could not be replaced');
      },
    );
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new MoatError('LINK_CLOSED', 'this machine stops'));
    this.#unsubscribe();
    const links = this.#roster.list();
    for (const link of links) link.close('LINK_CLOSED');
    this.#seeker.stop();
    this.#splicer?.stop();
    await Promise.all([this.#guard?.close(), ...links.map((link) => link.gone)]);
  }
}

function overlayOf(connection: PeerConnection): Transport {
  return connection.remote === null ? 'overlay-relayed' : 'overlay';
}
