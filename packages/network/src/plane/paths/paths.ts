/**
 * Which way the packets of each WireGuard peer go: inside a link at first, directly as soon as a way is found, over a
 * member that passes UDP on where routers forbid that. In order: survey (how the world sees us), candidates, lead and
 * follow (what two machines agree on), punch (trying it), peer-path (one peer's state), traffic (is it still alive).
 */
import {
  MoatError,
  RateLimit,
  errorCode,
  isMoatError,
  type Clock,
  type ControlPlane,
  type DeploymentId,
  type Logger,
  type MessageStream,
  type PeerId,
  type PortMapper,
  type PortMapping,
  type Service,
  type Timer,
  type Tunnels,
} from '@moat/core';

import { createDeadline } from '../deadline.ts';
import type { NatKind } from './nat-kind.ts';
import { PATH_PROTOCOL, decodePathMessage, encodePathMessage, type FirstPathMessage } from './path-messages.ts';
import type { ConnectAnchor, Observe, OpenForward, OpenRide } from './path-ports.ts';
import type { PathLine } from './path-state.ts';
import { createPeerDoor, type PeerDoor } from '../peer-door.ts';
import { PeerPath } from './peer-path.ts';
import { Surveyor, type AnchorReport } from './survey.ts';

/** Milliseconds between two looks at our own addresses, while packets go and while none do. */
const ADDRESSES_MS = 1_000;
const ADDRESSES_ASLEEP_MS = 5_000;
/** Exchanges, questions and addresses to try that one peer may cause in a minute. */
const PER_MINUTE = { offers: 12, questions: 60, addresses: 40 };
const MINUTE_MS = 60_000;
/** Milliseconds that a peer which asked to be sent a packet may take to say that it did not arrive. */
const LOST_MS = 5_000;
/** Milliseconds after which WireGuard shows what just arrived. */
const AWAKE_MS = 50;
const NETCHECK_MS = 10_000;

/** A member that the contract pairs with us. */
export interface PathPeer {
  readonly peer: PeerId;
  /** As `wg` prints it. */
  readonly publicKey: string;
}

export interface PathsDeps {
  readonly control: ControlPlane;
  readonly door: PathDoor;
  readonly tunnels: Tunnels;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of the contract, best first. */
  readonly anchors: () => readonly PeerId[];
  readonly observe: Observe;
  /** Reaches an anchor, which need not be a member. @defaultValue as `control` reaches members */
  readonly connectAnchor?: ConnectAnchor;
  readonly openRide: OpenRide;
  readonly openForward?: OpenForward;
  /** Members known to pass packets on for others, best first; this machine too, where its operator allows it. */
  readonly forwarders: () => readonly PeerId[];
  readonly portMapper?: PortMapper;
  /** False while handshakes with a peer cannot work. @defaultValue they always can */
  readonly mayMeet?: (peer: PeerId) => boolean;
  /** Addresses of interfaces that are neither loopback nor inside a private network. */
  readonly localAddresses: () => readonly string[];
}

export interface PathsOptions {
  /** Name of the interface. */
  readonly tunnel: string;
  readonly deployment: DeploymentId;
  /** Its UDP port. */
  readonly port: number;
  /** CIDRs of all private networks on this machine: what is inside a tunnel is no way for a tunnel. */
  readonly excluded: () => readonly string[];
}

/** What `moat netcheck` shows. */
export interface Netcheck {
  readonly nat: NatKind;
  readonly port: number;
  readonly anchors: readonly AnchorReport[];
  /** What the router leads to us on request. */
  readonly mapped: PortMapping | null;
  readonly local: readonly string[];
  readonly forwarders: readonly PeerId[];
}

export interface Paths extends Service {
  /** Who is a peer now: after the tunnel got new ones, before it loses old ones. @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED`, `LISTEN_FAILED` */
  update(peers: readonly PathPeer[]): Promise<void>;
  /** A line for each peer. */
  states(): readonly PathLine[];
  /** Called with each change; returns the way to unsubscribe. */
  onChange(listener: (line: PathLine) => void): () => void;
  /** Wakes the peer's path and waits until it is direct. @throws `PATH_REFUSED` for nobody's peer, or the signal's reason */
  untilDirect(peer: PeerId, signal: AbortSignal): Promise<PathLine>;
  /** Asks every anchor anew. */
  netcheck(signal: AbortSignal): Promise<Netcheck>;
  /** A hint; addresses are looked at every few seconds anyway. */
  networkChanged(): void;
  /** The interface goes for good: gives back the port that the router leads to it. Never rejects. */
  giveBack(): Promise<void>;
}

/** The door of `/moat/path/1`. */
export type PathDoor = PeerDoor<FirstPathMessage>;

/** One a process. */
export function createPathDoor(deps: { readonly control: ControlPlane; readonly clock: Clock }): PathDoor {
  return createPeerDoor(deps, { protocol: PATH_PROTOCOL, decode: decodeFirst });
}

/** Paths of one tunnel's peers; stopped, it leaves every endpoint as it is, and the next start adopts them. */
export function createPaths(deps: PathsDeps, options: PathsOptions): Paths {
  return new TunnelPaths(deps, options);
}

class TunnelPaths implements Paths {
  readonly #deps: PathsDeps;
  readonly #options: PathsOptions;
  readonly #surveyor: Surveyor;
  readonly #paths = new Map<PeerId, PeerPath>();
  readonly #listeners = new Set<(line: PathLine) => void>();
  /** Peers that named themselves as forwarders; only peers are in it. */
  readonly #offering = new Set<PeerId>();
  readonly #limits: Record<keyof typeof PER_MINUTE, RateLimit>;
  readonly #stopped: AbortController = new AbortController();
  #opened: DisposableStack | undefined;
  #look: { readonly at: number; readonly timer: Timer } | undefined;
  #addresses = '';
  #forwarderText = '';

  constructor(deps: PathsDeps, options: PathsOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#surveyor = new Surveyor(deps, { tunnel: options.tunnel, port: options.port, signal: this.#stopped.signal });
    const limit = (count: number): RateLimit => new RateLimit(deps.clock, { count, perMs: MINUTE_MS, maxKeys: 4_096 });
    this.#limits = {
      offers: limit(PER_MINUTE.offers),
      questions: limit(PER_MINUTE.questions),
      addresses: limit(PER_MINUTE.addresses),
    };
  }

  start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const { control, door } = this.#deps;
    const opened = new DisposableStack();
    opened.defer(door.serve(this.#options.deployment, (stream, first) => this.#visit(stream, first)));
    opened.defer(control.onAdmitted((connection) => this.#paths.get(connection.peer)?.connected(connection)));
    opened.defer(() => this.#look?.timer.cancel());
    const unsubscribe = this.#deps.portMapper?.onChange((port) => this.#mapped(port));
    if (unsubscribe !== undefined) opened.defer(unsubscribe);
    this.#addresses = this.#addressText();
    this.#watchAddresses(opened);
    this.#opened = opened;
    this.#map();
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(new MoatError('NETWORK_STOPPED', 'paths are no longer looked after'));
    this.#opened?.dispose();
    await Promise.all([...this.#paths.values()].map((path) => path.close()));
    this.#paths.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async update(peers: readonly PathPeer[]): Promise<void> {
    const wanted = new Map(peers.map((peer) => [peer.peer, peer]));
    for (const [peer, path] of this.#paths) {
      if (wanted.get(peer)?.publicKey === path.publicKey) continue;
      this.#paths.delete(peer);
      this.#offering.delete(peer);
      await path.close();
    }
    const added = peers.filter(({ peer }) => !this.#paths.has(peer));
    if (added.length === 0) return;
    const standing = await this.#deps.tunnels.peers(this.#options.tunnel);
    for (const peer of added) {
      const path = await this.#add(peer);
      await path.adopt(standing.find(({ publicKey }) => publicKey === peer.publicKey));
    }
  }

  states(): readonly PathLine[] {
    return [...this.#paths.values()].map(({ line }) => line);
  }

  onChange(listener: (line: PathLine) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  untilDirect(peer: PeerId, signal: AbortSignal): Promise<PathLine> {
    const path = this.#paths.get(peer);
    if (path === undefined) return Promise.reject(new MoatError('PATH_REFUSED', 'no such pair here'));
    path.wake();
    return new Promise((resolve, reject) => {
      if (path.line.state.kind === 'direct') return resolve(path.line);
      if (signal.aborted) return reject(signal.reason as Error);
      const done = (): void => {
        off();
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        done();
        reject(signal.reason as Error);
      };
      const off = this.onChange((line) => {
        if (line.peer !== peer || line.state.kind !== 'direct') return;
        done();
        resolve(line);
      });
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  async netcheck(signal: AbortSignal): Promise<Netcheck> {
    using deadline = createDeadline(this.#deps.clock, NETCHECK_MS, AbortSignal.any([signal, this.#stopped.signal]));
    const { anchors, nat, own } = await this.#surveyor.surveyAll(deadline.signal);
    const { local, port } = own;
    const mapped = this.#deps.portMapper?.mapping(port) ?? null;
    return { nat, port, anchors, mapped, local, forwarders: this.#forwarders() };
  }

  networkChanged(): void {
    this.#surveyor.forget();
    this.#map();
    for (const path of this.#paths.values()) path.networkChanged();
  }

  async giveBack(): Promise<void> {
    await this.#deps.portMapper?.unmap(this.#options.port);
  }

  async #add({ peer, publicKey }: PathPeer): Promise<PeerPath> {
    const { clock, control, logger, openForward, openRide, tunnels } = this.#deps;
    const { deployment, excluded, tunnel } = this.#options;
    const ride = await openRide(peer);
    const path = new PeerPath(
      {
        tunnels,
        clock,
        logger,
        onChange: (line) => this.#changed(line),
        onAwake: () => this.#lookAfter(AWAKE_MS),
        exchange: {
          control,
          tunnels,
          clock,
          excluded,
          openForward,
          surveyor: this.#surveyor,
          forwarders: () => this.#forwarders(),
          mayMeet: this.#deps.mayMeet ?? ((): boolean => true),
          onForwarders: (from, forwarders) => this.#offered(from, forwarders),
          mayTry: (from) => this.#limits.addresses.take(from) === 0,
        },
      },
      { deployment, self: control.self, peer, place: { tunnel, publicKey }, ride },
    );
    this.#paths.set(peer, path);
    return path;
  }

  /** What peers say, judged: only those of a pair, only so often, and an offer only by the side that leads. */
  async #visit(stream: MessageStream, first: FirstPathMessage): Promise<void> {
    const { peer } = stream.connection;
    const path = this.#paths.get(peer);
    const kind = first.type === 'offer' ? 'offers' : 'questions';
    if (path === undefined) throw new MoatError('PATH_REFUSED', 'no such pair here');
    path.met(stream.connection);
    if (this.#limits[kind].take(peer) > 0) return this.#refuse(stream, 'PATH_BUSY');
    if (first.type === 'check') return this.#checked(stream, path);
    const peerLeads = peer < this.#deps.control.self;
    if (peerLeads !== (first.type === 'offer')) return this.#refuse(stream, 'PATH_REFUSED');
    if (first.type === 'wake') path.asked();
    else await path.offered(stream, first);
    await stream.close();
  }

  async #refuse(stream: MessageStream, code: string): Promise<void> {
    using deadline = createDeadline(this.#deps.clock, LOST_MS, this.#stopped.signal);
    await stream.write(encodePathMessage({ type: 'refused', code }), deadline.signal);
    await stream.close();
  }

  async #checked(stream: MessageStream, path: PeerPath): Promise<void> {
    using deadline = createDeadline(this.#deps.clock, LOST_MS, this.#stopped.signal);
    const { signal } = deadline;
    await path.nudge();
    await stream.write(encodePathMessage({ type: 'checked' }), signal);
    try {
      const message = decodePathMessage(await stream.read(signal));
      if (message.type === 'lost') await path.lost(message.quietMs, 'PATH_DIED');
    } catch (error) {
      if (!isMoatError(error, 'STREAM_ENDED')) throw error;
    }
    await stream.close();
  }

  #forwarders(): readonly PeerId[] {
    return [...new Set([...this.#deps.forwarders(), ...this.#offering])];
  }

  /** Only for itself does a peer's word count. */
  #offered(peer: PeerId, forwarders: readonly PeerId[]): void {
    if (forwarders.includes(peer) && this.#paths.has(peer)) this.#offering.add(peer);
    else this.#offering.delete(peer);
  }

  /** Members that pass packets on may become known after it was tried. */
  #tryForwarders(): void {
    const text = this.#forwarders().toSorted().join();
    if (text === this.#forwarderText) return;
    this.#forwarderText = text;
    if (text !== '') for (const path of this.#paths.values()) path.forwardersChanged();
  }

  #changed(line: PathLine): void {
    for (const listener of this.#listeners) listener(line);
  }

  /** One look for all peers, as soon as one of them needs it. */
  #lookAfter(delayMs: number): void {
    const { clock } = this.#deps;
    const at = clock.now() + delayMs;
    if (this.#stopped.signal.aborted || (this.#look !== undefined && this.#look.at <= at)) return;
    this.#look?.timer.cancel();
    const timer = clock.after(delayMs, () => {
      this.#look = undefined;
      void this.#lookNow();
    });
    this.#look = { at, timer };
  }

  async #lookNow(): Promise<void> {
    const { logger, tunnels } = this.#deps;
    try {
      const counters = new Map((await tunnels.peers(this.#options.tunnel)).map((peer) => [peer.publicKey, peer]));
      for (const path of this.#paths.values()) {
        const own = counters.get(path.publicKey);
        if (own !== undefined) path.look(own);
      }
    } catch (error) {
      logger.warn({ code: errorCode(error) }, 'the peers of a tunnel could not be read');
    }
    this.#tryForwarders();
    const waits = [...this.#paths.values()].flatMap(({ lookMs }) => (lookMs === null ? [] : [lookMs]));
    if (waits.length > 0) this.#lookAfter(Math.min(...waits));
  }

  #watchAddresses(opened: DisposableStack): void {
    const { clock } = this.#deps;
    let timer: Timer | undefined;
    const later = (): void => {
      const isAwake = [...this.#paths.values()].some((path) => path.isAwake);
      timer = clock.after(isAwake ? ADDRESSES_MS : ADDRESSES_ASLEEP_MS, look);
    };
    const look = (): void => {
      const now = this.#addressText();
      if (now !== this.#addresses) {
        this.#addresses = now;
        this.networkChanged();
      }
      later();
    };
    later();
    opened.defer(() => timer?.cancel());
  }

  #addressText(): string {
    return this.#deps.localAddresses().toSorted().join();
  }

  #map(): void {
    void this.#deps.portMapper?.map(this.#options.port);
  }

  /** The router leads another port here than before, or none any more. */
  #mapped(port: number): void {
    if (port !== this.#options.port) return;
    this.#surveyor.doubt();
    if (this.#deps.portMapper?.mapping(port)) for (const path of this.#paths.values()) path.opened();
  }
}

function decodeFirst(message: Uint8Array): FirstPathMessage {
  const decoded = decodePathMessage(message);
  if ('deployment' in decoded) return decoded;
  throw new MoatError('PATH_INVALID', 'not the beginning of a talk about a path');
}
