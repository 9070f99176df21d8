/**
 * One place's WireGuard plane: contract → layout → interface and packet rules → paths, and nothing else touches them.
 * What a version takes away goes first: ways of peers that left, then peers and rules, then what is new.
 */
import {
  MoatError,
  errorCode,
  isMoatError,
  type Clock,
  type Logger,
  type PeerId,
  type Remap,
  type Timer,
  type TunnelPeerState,
  type TunnelSpec,
  type Tunnels,
} from '@moat/core';
import type { ContractView } from '@moat/contract';
import type { ExposedTargets } from '../exposed.ts';
import type { PathLine } from './paths/path-state.ts';
import type { PskLine, PskMode } from './preshared-keys/preshared-keys.ts';
import { isCutEnough, tunnelNameOf } from './layout.ts';
import type { PlaneLayout, PlaneOf, PlanePeer } from './plane-layout.ts';
import type { Netcheck } from './paths/paths.ts';
import { Meetings } from './paths/meetings.ts';
import { remapped } from './remapped.ts';

/** Milliseconds until a change that failed is tried again; doubled each time, up to {@link RETRY_MAX_MS}. */
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 60_000;
/** Milliseconds between two looks at what stands: another program may have changed it. */
const LOOK_MS = 300_000;
/** Milliseconds until what a cut left is looked at: others are cutting the same peer off now. */
const LOOK_AFTER_CUT_MS = 5_000;
/** Bytes: what is left of 1500 for WireGuard over IPv6. */
const MTU = 1_420;

/** The ways of an interface's peers, as the plane uses them. */
export interface PlanePaths {
  start(options: { readonly signal: AbortSignal }): Promise<void>;
  update(peers: readonly { readonly peer: PeerId; readonly publicKey: string }[]): Promise<void>;
  states(): readonly PathLine[];
  untilDirect(peer: PeerId, signal: AbortSignal): Promise<PathLine>;
  netcheck(signal: AbortSignal): Promise<Netcheck>;
  /** Leaves every endpoint, and what the router leads here, as it is. */
  stop(): Promise<void>;
  /** After the interface: gives back what the router leads to it. Never rejects. */
  giveBack(): Promise<void>;
}

/** The preshared keys of an interface's peers, as the plane uses them. */
export interface PlanePresharedKeys {
  start(options: { readonly signal: AbortSignal }): Promise<void>;
  update(peers: readonly { readonly peer: PeerId; readonly publicKey: string }[], mode: PskMode): Promise<void>;
  states(): readonly PskLine[];
  /** False while handshakes with a peer cannot work. */
  mayMeet(peer: PeerId): boolean;
  /** Leaves every key as it is. */
  stop(): Promise<void>;
}

/** One interface, and what its preshared keys need to know. */
export interface PresharedKeysOf {
  readonly tunnel: string;
  /** Our own, as `wg` prints it. */
  readonly publicKey: string;
  /** True while packets of a peer go. */
  readonly isAwake: (peer: PeerId) => boolean;
}

export interface PlaneDeps {
  readonly tunnels: Tunnels;
  readonly layoutOf: PlaneOf;
  /** The ways of one interface; asked once its name is known, and again after it was taken away. */
  readonly paths: (tunnel: string, mayMeet: (peer: PeerId) => boolean) => PlanePaths;
  /** Asked when {@link PlaneDeps.paths} is, with our key. @defaultValue no preshared keys, whatever the contract says */
  readonly presharedKeys?: (of: PresharedKeysOf) => PlanePresharedKeys;
  /** The private half of the key that the contract names. @throws any coded error */
  readonly privateKey: (publicKey: string) => Promise<string>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface PlaneSettings {
  /** This machine's place. */
  readonly self: string;
  readonly exposed: ExposedTargets;
  /** Path of the network namespace; null = the agent's. */
  readonly namespace: string | null;
  /** UDP. */
  readonly port: number;
  /** Where the contract's range is taken on this machine. */
  readonly remap?: Remap | undefined;
  /** A code while nothing may pass, whatever the contract says. */
  readonly refusal?: (() => string | undefined) | undefined;
}

/** `failed`: tried again by itself; what stood before stands, or lets nothing in. */
export interface PlaneState {
  readonly phase: 'off' | 'starting' | 'up' | 'closed' | 'failed';
  readonly error: MoatError | null;
  readonly layout: PlaneLayout | null;
  /** Changes made to the machine so far, as people read them, the newest last. */
  readonly done: readonly string[];
}

/** A peer as the contract has it, as the interface has it, and how its packets go. */
export interface PlanePeerState extends PlanePeer {
  readonly now: TunnelPeerState | undefined;
  readonly path: PathLine | undefined;
  readonly presharedKey: PskLine | undefined;
}

export interface Plane {
  /** Takes a contract into force, what it takes away first; resolves when the interface follows, or failed to. Never rejects. */
  update(view: ContractView): Promise<void>;
  /** Like `update`, of a contract that may have been taken already: resolves when that is in force. */
  settle(view: ContractView): Promise<void>;
  /** The same contract, judged anew: consent, staleness or keys changed. */
  review(): Promise<void>;
  readonly state: PlaneState;
  peers(): Promise<readonly PlanePeerState[]>;
  /** How a peer's packets go; undefined where it is none. */
  pathOf(peer: PeerId): PathLine | undefined;
  /** Wakes a peer's way and waits until it is direct. @throws `PATH_REFUSED` for nobody's peer, or the signal's reason */
  untilDirect(peer: PeerId, signal: AbortSignal): Promise<PathLine>;
  /** How the world sees the interface. @throws `PLANE_OFF` while there is none */
  netcheck(signal: AbortSignal): Promise<Netcheck>;
  /** What programs here use for a service: addresses of members that were met on the plane; all, where `unmet`. */
  addressesOf(service: string, options?: { readonly unmet?: boolean }): readonly string[];
  /**
   * Shakes hands with members that offer one of these services and were never met; those that do not answer are left
   * alone for ten seconds. Resolves when all were met, or after `waitMs`.
   */
  meet(services: readonly string[], waitMs: number): Promise<void>;
  /** Sends nothing anywhere from now on, and leaves interface, rules and ways as they stand. */
  stop(): Promise<void>;
  /** Takes the interface away. @throws `TUNNEL_FAILED` */
  remove(): Promise<void>;
}

export function createPlane(deps: PlaneDeps, settings: PlaneSettings): Plane {
  return new PlacePlane(deps, settings);
}

/** Lines of what was done that are kept. */
const DONE_KEPT = 50;

class PlacePlane implements Plane {
  readonly #deps: PlaneDeps;
  readonly #settings: PlaneSettings;
  readonly #stopped = new AbortController();
  #view: ContractView | undefined;
  #layout: PlaneLayout | null = null;
  #phase: PlaneState['phase'] = 'starting';
  #error: MoatError | null = null;
  #done: readonly string[] = [];
  #paths: PlanePaths | undefined;
  #presharedKeys: PlanePresharedKeys | undefined;
  /** Our public key that they are for. */
  #presharedFor: string | undefined;
  readonly #meetings: Meetings;
  #turn: Promise<void> = Promise.resolve();
  #waiting: Promise<void> | undefined;
  #next: Timer | undefined;
  #retryMs = RETRY_MS;

  constructor(deps: PlaneDeps, settings: PlaneSettings) {
    this.#deps = deps;
    this.#settings = settings;
    this.#meetings = new Meetings({
      ...deps,
      isRefused: (publicKey) => this.#isRefused(publicKey),
      keepaliveOf: (publicKey) => this.#pathOfKey(publicKey)?.keepaliveSeconds ?? 0,
    });
  }

  get state(): PlaneState {
    return { phase: this.#phase, error: this.#error, layout: this.#layout, done: this.#done };
  }

  update(view: ContractView): Promise<void> {
    this.#view = view;
    return this.review();
  }

  settle(view: ContractView): Promise<void> {
    if (view !== this.#view || this.#error !== null) return this.update(view);
    return this.#waiting ?? this.#turn;
  }

  review(): Promise<void> {
    if (this.#stopped.signal.aborted) return Promise.resolve();
    // One turn runs and one waits, which reads the newest contract when it begins: a burst of changes costs two.
    this.#waiting ??= this.#turn.then(() => {
      this.#waiting = undefined;
      this.#turn = this.#follow();
      return this.#turn;
    });
    return this.#waiting;
  }

  async peers(): Promise<readonly PlanePeerState[]> {
    const layout = this.#layout;
    if (layout === null) return [];
    const now = new Map((await this.#deps.tunnels.peers(layout.name)).map((each) => [each.publicKey, each]));
    this.#meetings.seen(now.values());
    const paths = new Map(this.#paths?.states().map((each) => [each.publicKey, each]));
    const keys = new Map(this.#presharedKeys?.states().map((each) => [each.peer, each]));
    return layout.peers.map((peer) => ({
      ...peer,
      now: now.get(peer.publicKey),
      path: paths.get(peer.publicKey),
      presharedKey: peer.peer === null ? undefined : keys.get(peer.peer),
    }));
  }

  pathOf(peer: PeerId): PathLine | undefined {
    return this.#paths?.states().find((path) => path.peer === peer);
  }

  untilDirect(peer: PeerId, signal: AbortSignal): Promise<PathLine> {
    return this.#paths?.untilDirect(peer, signal) ?? Promise.reject(planeOff());
  }

  netcheck(signal: AbortSignal): Promise<Netcheck> {
    return this.#paths?.netcheck(signal) ?? Promise.reject(planeOff());
  }

  addressesOf(service: string, { unmet = false } = {}): readonly string[] {
    const layout = this.#phase === 'up' ? this.#layout : null;
    const found = layout?.services.find((each) => each.service === service);
    if (layout === null || found === undefined) return [];
    const met = new Set(layout.peers.flatMap(({ member, publicKey }) => (this.#meetings.has(publicKey) ? member : [])));
    const { self, remap } = this.#settings;
    return found.instances
      .filter(({ member }) => member !== self && (unmet || met.has(member)))
      .map(({ address }) => remapped(address, remap));
  }

  meet(services: readonly string[], waitMs: number): Promise<void> {
    const layout = this.#phase === 'up' ? this.#layout : null;
    if (layout === null) return Promise.resolve();
    const { self } = this.#settings;
    const offering = layout.services.filter(({ service }) => services.includes(service));
    const members = new Set(offering.flatMap(({ instances }) => instances.map(({ member }) => member)));
    const peers = layout.peers.filter(({ member, peer }) => member !== self && peer !== null && members.has(member));
    return this.#meetings.meet(
      layout.name,
      peers.map(({ publicKey }) => publicKey),
      waitMs,
    );
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#next?.cancel();
    await this.#turn;
    await this.#stopPeers();
  }

  async remove(): Promise<void> {
    const name = this.#layout?.name;
    const paths = this.#paths;
    await this.stop();
    if (name !== undefined) await this.#deps.tunnels.remove(name);
    this.#layout = null;
    this.#phase = 'off';
    await paths?.giveBack();
  }

  #pathOfKey(publicKey: string): PathLine | undefined {
    return this.#paths?.states().find((path) => path.publicKey === publicKey);
  }

  /** The peer's agent said that it takes no part: its key is known, and no interface stands behind it. */
  #isRefused(publicKey: string): boolean {
    const state = this.#pathOfKey(publicKey)?.state;
    return state !== undefined && state.kind !== 'direct' && state.why.code === 'PEER_REFUSED';
  }

  async #follow(): Promise<void> {
    const view = this.#view;
    if (view === undefined || this.#stopped.signal.aborted) return;
    this.#next?.cancel();
    const refusal = this.#settings.refusal?.();
    try {
      const lookMs = await this.#apply(refusal === undefined ? view : closed(view));
      this.#error = null;
      this.#retryMs = RETRY_MS;
      this.#phase = this.#layout === null ? 'off' : refusal === undefined ? 'up' : 'closed';
      if (this.#layout !== null) this.#lookAfter(lookMs);
    } catch (error) {
      this.#error = isMoatError(error)
        ? error
        : new MoatError('TUNNEL_FAILED', 'the WireGuard interface could not be brought in line', { cause: error });
      this.#phase = 'failed';
      this.#deps.logger.warn({ code: errorCode(error), err: error }, 'WireGuard plane not in line');
      this.#lookAfter(this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
    }
  }

  #lookAfter(waitMs: number): void {
    if (!this.#stopped.signal.aborted) this.#next = this.#deps.clock.after(waitMs, () => void this.review());
  }

  /** Resolves to the milliseconds until the interface is to be looked at again. */
  async #apply(view: ContractView): Promise<number> {
    const { tunnels, layoutOf, clock } = this.#deps;
    const { self, exposed, remap } = this.#settings;
    const before = this.#layout;
    const now = clock.now();
    const layout = layoutOf(view, self, { exposed, now, ...(remap === undefined ? {} : { remap }) });
    if (layout === null) {
      const peer = view.places.get(self)?.peer ?? null;
      // Without one before: what an earlier agent left stands on.
      await this.#takeAway(before?.name ?? (peer === null ? null : tunnelNameOf(view.contract.deployment, peer)));
      return LOOK_MS;
    }
    const wanted = new Set(layout.peers.map(({ publicKey }) => publicKey));
    // Before anything is waited for: who is taken out sends no packet more.
    const isCut = before !== null && (await this.#cut(before, layout, wanted));
    const key = view.places.get(self)?.wireguard ?? '';
    // Before what comes: nobody looks for ways of a peer that left.
    if (before !== null) await this.#leaveWays(membersOf(before).filter(({ publicKey }) => wanted.has(publicKey)));
    const isInLine = isCut && this.#error === null && this.#presharedFor === key && isCutEnough(before, layout);
    if (!isInLine) {
      const privateKey = await this.#privateKeyOf(key, layout.name);
      // Its process may have been killed: in a new interface nobody has an endpoint, or a preshared key.
      if (before !== null && !(await this.#stands(before.name))) await this.#stopPeers();
      this.#note(await tunnels.apply(this.#specOf(layout, privateKey)));
    }
    this.#layout = layout;
    if (this.#paths === undefined) {
      this.#paths = this.#deps.paths(layout.name, (peer) => this.#presharedKeys?.mayMeet(peer) ?? true);
      await this.#paths.start({ signal: this.#stopped.signal });
    }
    if (this.#presharedFor !== key) await this.#startKeys(layout.name, key);
    // Before any way: where a key is required, no peer is met without one.
    await this.#presharedKeys?.update(membersOf(layout), view.contract.network.postQuantum ?? null);
    await this.#paths.update(membersOf(layout));
    return isInLine ? LOOK_AFTER_CUT_MS : LOOK_MS;
  }

  /** Resolves to true where peers left, and are gone; what it does not get done, `apply` does. */
  async #cut(before: PlaneLayout, { name, rules }: PlaneLayout, wanted: ReadonlySet<string>): Promise<boolean> {
    const gone = before.peers.flatMap(({ publicKey }) => (wanted.has(publicKey) ? [] : publicKey));
    if (before.name !== name || (gone.length === 0 && rules.chains === before.rules.chains)) return false;
    try {
      this.#note(await this.#deps.tunnels.cut(name, gone, rules));
      return gone.length > 0;
    } catch (error) {
      this.#deps.logger.debug({ code: errorCode(error), err: error }, 'peers not cut off ahead');
      return false;
    }
  }

  #note(done: readonly string[]): void {
    this.#done = [...this.#done, ...done].slice(-DONE_KEPT);
    for (const line of done) this.#deps.logger.debug({ step: line }, 'WireGuard interface changed');
  }

  async #stands(tunnel: string): Promise<boolean> {
    try {
      await this.#deps.tunnels.peers(tunnel);
      return true;
    } catch (error) {
      return !isMoatError(error, 'TUNNEL_UNKNOWN');
    }
  }

  /** Where there is no key, the interface could not follow the contract any more: it goes. */
  async #privateKeyOf(publicKey: string, tunnel: string): Promise<string> {
    try {
      return await this.#deps.privateKey(publicKey);
    } catch (error) {
      await this.#takeAway(tunnel);
      throw error;
    }
  }

  /** A way that cannot be ended keeps nobody's peer in the interface. */
  async #leaveWays(kept: Parameters<PlanePaths['update']>[0]): Promise<void> {
    try {
      await this.#paths?.update(kept);
    } catch (error) {
      this.#deps.logger.warn({ code: errorCode(error), err: error }, 'a way of a peer not ended');
    }
  }

  async #takeAway(tunnel: string | null): Promise<void> {
    const paths = this.#paths;
    await this.#stopPeers();
    if (tunnel !== null) await this.#deps.tunnels.remove(tunnel);
    // At once: who asks for the peers of what is gone fails.
    this.#layout = null;
    await paths?.giveBack();
  }

  async #startKeys(tunnel: string, publicKey: string): Promise<void> {
    const isAwake = (peer: PeerId): boolean =>
      this.#paths?.states().some((path) => path.peer === peer && path.state.kind !== 'asleep') ?? false;
    await this.#presharedKeys?.stop();
    this.#presharedFor = publicKey;
    this.#presharedKeys = this.#deps.presharedKeys?.({ tunnel, publicKey, isAwake });
    await this.#presharedKeys?.start({ signal: this.#stopped.signal });
  }

  async #stopPeers(): Promise<void> {
    await this.#presharedKeys?.stop();
    this.#presharedKeys = undefined;
    this.#presharedFor = undefined;
    await this.#paths?.stop();
    this.#paths = undefined;
  }

  #specOf(layout: PlaneLayout, privateKey: string): TunnelSpec {
    const { namespace, port, remap } = this.#settings;
    const { name, addresses, routes, peers, rules } = layout;
    return {
      name,
      namespace,
      privateKey,
      port,
      mtu: MTU,
      addresses,
      routes,
      peers: peers.map(({ publicKey, allowedIps }) => ({ publicKey, allowedIps })),
      rules,
      forwards: layout.forwarding !== 'none',
      ...(remap === undefined ? {} : { remap }),
    };
  }
}

/** Devices say nowhere where they are: no way is looked for. */
function membersOf({ peers }: PlaneLayout): { readonly peer: PeerId; readonly publicKey: string }[] {
  return peers.flatMap(({ peer, publicKey }) => (peer === null ? [] : [{ peer, publicKey }]));
}

/** The same contract without a grant: nobody is a peer, and no packet passes. */
function closed(view: ContractView): ContractView {
  const { egress: _, ...contract } = view.contract;
  return { ...view, contract: { ...contract, access: [] }, grantsTo: () => [] };
}

function planeOff(): MoatError<'PLANE_OFF'> {
  return new MoatError('PLANE_OFF', 'this network has no WireGuard interface here', { next: ['moat wireguard up'] });
}
