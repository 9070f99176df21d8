/**
 * One peer's way: which it is, when it is looked for, when it is given up. Asleep, the peer's endpoint is the ride's
 * socket; the first packet wakes it, packets ride, and an exchange looks for a better way. Nothing is sent by a timer but
 * keepalives that routers need, and nothing at all after five minutes without traffic.
 */
import {
  errorCode,
  sleep,
  type Clock,
  type DeploymentId,
  type Endpoint,
  type Logger,
  type MessageStream,
  type PeerConnection,
  type PeerId,
  type TunnelPeerState,
  type Tunnels,
} from '@moat/core';

import { follow, type FollowDeps } from './follow.ts';
import { HeldForward } from '../forward/held-forward.ts';
import { Keepalive } from './keepalive.ts';
import { lead } from './lead.ts';
import { isUnreached, reasonOfFailure } from './path-failure.ts';
import type { OfferedEnd } from './path-messages.ts';
import type { PacketRide } from './path-ports.ts';
import { whyNotDirect, type PathLine, type PathReason, type PathState } from './path-state.ts';
import { checkPeer, tellAwake } from './peer-check.ts';
import { isSame, peerOf, type TunnelPlace } from './punch.ts';
import { Traffic } from './traffic.ts';
import { Tries } from './tries.ts';
import type { Outcome, Pair } from './way.ts';

/** Milliseconds after which the last packets on the ride have arrived: from then on it only wakes. */
const RIDE_RESTS_MS = 5_000;
/** Milliseconds for something to arrive after our network changed. */
const CHANGED_MS = 800;
/** Milliseconds after which both sides sleep. */
const ASLEEP_MS = 15_000;
/** Milliseconds that the leader has to begin by itself. */
const LEADER_MS = 400;
/** Milliseconds more for the follower, which only asks where the leader forgot. */
const FOLLOWER_LATER_MS = 2_000;
/** A session older than this, in milliseconds, is none (WireGuard's REJECT_AFTER_TIME). */
const SESSION_MS = 180_000;

export interface PeerPathDeps {
  readonly exchange: Omit<FollowDeps, 'onPunching'>;
  readonly tunnels: Tunnels;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onChange: (line: PathLine) => void;
  /** Counters are to be looked at soon, and from now on. */
  readonly onAwake: () => void;
}

export interface PeerPathOptions {
  readonly deployment: DeploymentId;
  readonly self: PeerId;
  readonly peer: PeerId;
  readonly place: TunnelPlace;
  readonly ride: PacketRide;
}

export class PeerPath {
  readonly #deps: PeerPathDeps;
  readonly #options: PeerPathOptions;
  readonly #traffic: Traffic;
  readonly #tries: Tries;
  readonly #keepalive: Keepalive = new Keepalive();
  readonly #held: HeldForward;
  readonly #gone: AbortController = new AbortController();
  #state: PathState;
  #exchange: { readonly controller: AbortController; readonly done: Promise<void> } | undefined;
  #met: PeerConnection | undefined;
  #isChecking = false;

  constructor(deps: PeerPathDeps, options: PeerPathOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#traffic = new Traffic(deps.clock.now());
    this.#tries = new Tries(deps.clock);
    this.#held = new HeldForward(deps.clock);
    this.#state = { kind: 'asleep', since: deps.clock.now(), why: whyNotDirect('NO_TRAFFIC') };
    options.ride.onWake = () => this.#ridden();
  }

  get line(): PathLine {
    const { peer, place, ride } = this.#options;
    const state = this.#state;
    return {
      peer,
      publicKey: place.publicKey,
      state: state.kind === 'riding' ? { ...state, over: ride.path } : state,
      keepaliveSeconds: this.#keepalive.seconds,
      nextTryAt: this.isAwake ? this.#tries.nextAt : null,
    };
  }

  get publicKey(): string {
    return this.#options.place.publicKey;
  }

  get isAwake(): boolean {
    return this.#state.kind !== 'asleep';
  }

  /** Milliseconds until its counters should be looked at; null = no need. */
  get lookMs(): number | null {
    return this.isAwake ? this.#traffic.lookMs(this.#deps.clock.now()) : null;
  }

  /** Takes over what stands: a path that works goes on; all else begins at the ride. @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED` */
  async adopt(standing: TunnelPeerState | undefined): Promise<void> {
    const now = this.#deps.clock.now();
    const endpoint = standing?.endpoint ?? null;
    if (endpoint === null || isLoopback(endpoint) || now - (standing?.handshakeAt ?? 0) >= SESSION_MS) {
      return this.#set({ endpoint: this.#options.ride.endpoint });
    }
    this.#keepalive.needed = (standing?.keepaliveSeconds ?? 0) > 0;
    this.#traffic.restart(now);
    this.#become({ kind: 'direct', since: now, endpoint, by: 'roamed' });
    this.#deps.onAwake();
  }

  /** A packet came, or somebody wants the peer now. */
  wake(): void {
    if (this.isAwake || this.#gone.signal.aborted) return;
    this.#traffic.restart(this.#deps.clock.now());
    this.#become(this.#riding('STARTING'));
    this.#tries.reset();
    this.#deps.onAwake();
    this.#seek();
  }

  /** The follower is awake and has no direct way. */
  asked(): void {
    if (!this.isAwake) this.wake();
    else this.#seek();
  }

  /** The peer is there, on this connection. */
  met(connection: PeerConnection): void {
    this.#met = connection;
  }

  /** The peer's connection is back: it may be asked again. */
  connected(connection: PeerConnection): void {
    this.met(connection);
    if (this.#state.kind === 'riding' && this.#state.why.code === 'PEER_UNREACHABLE') this.#seek();
  }

  /** There may be somebody who passes packets on. */
  forwardersChanged(): void {
    if (this.#state.kind === 'riding') this.#seek();
  }

  /** Our router lets everybody in from now on. */
  opened(): void {
    if (this.#exchange !== undefined) return this.#background(this.#exchange.done.then(() => this.opened()));
    if (this.#state.kind !== 'riding' && this.#state.kind !== 'forwarded') return;
    this.#tries.reset();
    this.#seek();
  }

  /** The leader's offer: whatever exchange still runs is older. */
  async offered(stream: MessageStream, offer: OfferedEnd): Promise<void> {
    this.wake();
    while (this.#exchange !== undefined) await this.#endExchange(this.#exchange);
    await this.#run((deps, pair, signal) => follow(deps, pair, stream, offer, signal));
  }

  /** The peer hears nothing: sends it a packet. @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED` */
  async nudge(): Promise<void> {
    if (!this.isAwake) this.wake();
    this.#traffic.nudged();
    await this.#set({}, true);
  }

  /** The way there was carries nothing any more; `quietMs` is how long only keepalives had gone before. */
  async lost(quietMs: number, why: PathReason): Promise<void> {
    const state = this.#state;
    if (state.kind !== 'direct' && state.kind !== 'forwarded') return;
    const now = this.#deps.clock.now();
    this.#keepalive.lost(quietMs);
    this.#keepalive.needed = false;
    if (state.kind === 'forwarded') this.#held.avoid(state.forwarder);
    this.#deps.exchange.surveyor.doubt();
    this.#held.leave();
    this.#become(this.#riding(why));
    this.#traffic.restart(now);
    this.#tries.reset();
    // The packet moves the other side to its ride too.
    await this.#set({ endpoint: this.#options.ride.endpoint }, true);
    this.#seek();
  }

  /** Our addresses changed: what works goes on, what does not is left within a second. */
  networkChanged(): void {
    this.#keepalive.reset();
    this.#held.forgive();
    this.#tries.reset();
    const { kind } = this.#state;
    if (kind === 'riding' || kind === 'punching') this.#seek();
    if (kind !== 'direct' && kind !== 'forwarded') return;
    this.#background(this.#judgeChange());
  }

  /** The peer's counters at this moment. */
  look(counters: TunnelPeerState): void {
    if (this.#exchange !== undefined || !this.isAwake) return;
    const now = this.#deps.clock.now();
    this.#traffic.note(now, counters);
    if (counters.endpoint !== null) this.#roamed(counters.endpoint, now);
    const verdict = this.#traffic.verdict(now, this.#keepalive.needed);
    if (verdict === 'idle') return this.#background(this.#sleep());
    if (!this.#hasOwnWay || this.#isChecking) return;
    const { ride } = this.#options;
    if (ride.path !== null && now - this.#state.since >= RIDE_RESTS_MS) ride.rest();
    if (verdict === 'doubtful') this.#background(this.#check(this.#traffic.quietMs(now)));
  }

  /** Ends what is under way; the endpoint stays as it is. */
  async close(): Promise<void> {
    this.#gone.abort(new Error('the path is closed'));
    this.#tries.cancel();
    if (this.#exchange !== undefined) await this.#endExchange(this.#exchange);
    // A session at a forwarder outlives us, as the endpoint does: the next start adopts both.
    this.#held.forget();
    await this.#options.ride.close();
  }

  /** The ride carries again: the peer sends nothing to the way there was. */
  #ridden(): void {
    if (this.isAwake) this.#deps.onAwake();
    else this.wake();
  }

  get #hasOwnWay(): boolean {
    return this.#state.kind === 'direct' || this.#state.kind === 'forwarded';
  }

  /** WireGuard moves endpoints by itself, to where packets come from. */
  #roamed(endpoint: Endpoint, now: number): void {
    const state = this.#state;
    if (isSame(endpoint, this.#options.ride.endpoint)) {
      if (this.#hasOwnWay) this.#background(this.lost(0, 'PATH_DIED'));
      return;
    }
    if (isLoopback(endpoint) || ('endpoint' in state && isSame(endpoint, state.endpoint))) return;
    this.#held.leave();
    this.#become({ kind: 'direct', since: now, endpoint, by: 'roamed' });
  }

  /** WireGuard goes on by itself where the peer has an address that everybody reaches: an answer shows it. */
  async #judgeChange(): Promise<void> {
    const { clock, tunnels } = this.#deps;
    const { place } = this.#options;
    const before = await peerOf(tunnels, place);
    await this.nudge();
    await sleep(clock, CHANGED_MS, this.#gone.signal);
    const after = await peerOf(tunnels, place);
    if ((after?.received ?? 0) <= (before?.received ?? 0)) await this.lost(0, 'NETWORK_CHANGED');
  }

  async #check(quietMs: number): Promise<void> {
    const { clock, exchange } = this.#deps;
    const state = this.#state;
    this.#isChecking = true;
    try {
      const isAlive = await checkPeer(exchange, this.#pair(), quietMs, this.#gone.signal);
      if (isAlive) this.#traffic.oneWay(clock.now());
      else if (this.#state === state) await this.lost(quietMs, 'PATH_DIED');
    } finally {
      this.#isChecking = false;
    }
  }

  /** Begins an exchange, or has the leader begin one. */
  #seek(): void {
    this.#tries.cancel();
    if (this.#gone.signal.aborted || this.#exchange !== undefined) return;
    if (this.#leads) this.#background(this.#run(lead));
    else {
      this.#tries.after(LEADER_MS, () => this.#background(this.#askLeader()));
      // What the leader will ask for takes seconds where UDP is blocked.
      this.#deps.exchange.surveyor.survey(this.#gone.signal).catch(() => undefined);
    }
  }

  async #askLeader(): Promise<void> {
    if (this.#exchange !== undefined || !this.isAwake) return;
    const { exchange } = this.#deps;
    let why: PathReason | undefined;
    try {
      await tellAwake(exchange, this.#pair(), this.#gone.signal);
    } catch (error) {
      why = reasonOfFailure(error);
    }
    // It may have begun meanwhile.
    if (this.#exchange !== undefined || this.#gone.signal.aborted) return;
    if (why !== undefined && this.#state.kind === 'riding') this.#become(this.#riding(why));
    if (this.#state.kind !== 'direct') this.#again(why === undefined ? 'tried' : 'unreached');
  }

  async #run(exchange: (deps: FollowDeps, pair: Pair, signal: AbortSignal) => Promise<Outcome>): Promise<void> {
    this.#tries.cancel();
    const controller = new AbortController();
    const { promise: done, resolve: finished } = Promise.withResolvers<void>();
    this.#exchange = { controller, done };
    const before = this.#state;
    try {
      const signal = AbortSignal.any([controller.signal, this.#gone.signal]);
      await this.#take(await exchange(this.#exchangeDeps(), this.#pair(), signal), before);
    } catch (error) {
      if (this.#gone.signal.aborted) return;
      this.#deps.logger.debug({ peer: this.#options.peer, code: errorCode(error) }, 'no path was agreed on');
      await this.#putBack(before, reasonOfFailure(error));
    } finally {
      this.#exchange = undefined;
      finished();
    }
  }

  #exchangeDeps(): FollowDeps {
    const { clock, exchange } = this.#deps;
    return {
      ...exchange,
      forwarders: (peer) => this.#held.usable(exchange.forwarders(peer)),
      onPunching: () => {
        const state = this.#state;
        if (state.kind === 'riding') this.#become({ kind: 'punching', since: clock.now(), why: state.why });
      },
    };
  }

  async #take(outcome: Outcome, before: PathState): Promise<void> {
    if (outcome.kind === 'unchanged') return this.#putBack(before, outcome.why);
    const now = this.#deps.clock.now();
    this.#held.leave();
    this.#keepalive.needed = outcome.keepsAlive;
    this.#traffic.restart(now);
    if (outcome.kind === 'direct') {
      this.#tries.reset();
      this.#become({ kind: 'direct', since: now, endpoint: outcome.endpoint, by: outcome.by });
    } else {
      const { by: forwarder, endpoint, session, why } = outcome;
      this.#held.hold(session, () => this.#forwarderSilent());
      this.#become({ kind: 'forwarded', since: now, endpoint, forwarder, why: whyNotDirect(why) });
      this.#again('tried');
    }
    await this.#set({});
  }

  /** An exchange came to nothing: the way before is the way now. */
  async #putBack(before: PathState, why: PathReason): Promise<void> {
    this.#traffic.skip();
    if (before.kind === 'direct' || before.kind === 'forwarded') {
      this.#become(before.kind === 'direct' ? before : { ...before, why: whyNotDirect(why) });
      await this.#set({ endpoint: before.endpoint });
    } else {
      this.#keepalive.needed = false;
      this.#become(this.#riding(why));
      await this.#set({ endpoint: this.#options.ride.endpoint });
    }
    if (before.kind !== 'direct') this.#again(isUnreached(why) ? 'unreached' : 'tried');
  }

  /** It may be only its agent that is gone: packets say whether the way still stands. */
  #forwarderSilent(): void {
    if (!this.#isChecking) this.#background(this.#check(0));
  }

  async #sleep(): Promise<void> {
    const { ride } = this.#options;
    this.#tries.cancel();
    this.#held.leave();
    this.#keepalive.needed = false;
    this.#become({ kind: 'asleep', since: this.#deps.clock.now(), why: whyNotDirect('NO_TRAFFIC') });
    await this.#set({ endpoint: ride.endpoint });
    ride.rest();
    this.#tries.after(ASLEEP_MS, () => this.#background(this.#stayAsleep()));
  }

  /** The peer fell asleep a moment later, and a last keepalive of it has moved the endpoint to where nobody listens soon. */
  async #stayAsleep(): Promise<void> {
    const { place, ride } = this.#options;
    const endpoint = (await peerOf(this.#deps.tunnels, place))?.endpoint ?? ride.endpoint;
    if (!this.isAwake && !isSame(endpoint, ride.endpoint)) await this.#set({ endpoint: ride.endpoint });
  }

  #again(end: 'tried' | 'unreached'): void {
    this.#tries.again(end, this.#leads ? 0 : FOLLOWER_LATER_MS, () => this.#seek());
  }

  async #endExchange(running: { readonly controller: AbortController; readonly done: Promise<void> }): Promise<void> {
    running.controller.abort(new Error('a newer exchange begins'));
    await running.done;
  }

  /** The keepalive as it is to be, and with `nudged` an empty packet now, which WireGuard sends when it is turned on. */
  async #set(change: { readonly endpoint?: Endpoint }, nudged = false): Promise<void> {
    const { publicKey, tunnel } = this.#options.place;
    const { tunnels } = this.#deps;
    if (nudged) {
      await tunnels.setPeer(tunnel, publicKey, { ...change, keepaliveSeconds: 0 });
      await tunnels.setPeer(tunnel, publicKey, { keepaliveSeconds: 1 });
    }
    await tunnels.setPeer(tunnel, publicKey, { ...change, keepaliveSeconds: this.#keepalive.seconds });
  }

  get #leads(): boolean {
    return this.#options.self < this.#options.peer;
  }

  #pair(): Pair {
    const { deployment, peer, place, ride } = this.#options;
    const state = this.#state;
    const forward = state.kind === 'forwarded' ? { by: state.forwarder, endpoint: state.endpoint } : null;
    return { deployment, peer, place, ride, met: this.#met, forward };
  }

  #riding(code: PathReason): PathState {
    return { kind: 'riding', since: this.#deps.clock.now(), over: this.#options.ride.path, why: whyNotDirect(code) };
  }

  #become(state: PathState): void {
    this.#state = state;
    this.#deps.onChange(this.line);
  }

  #background(work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (this.#gone.signal.aborted) return;
      this.#deps.logger.warn({ peer: this.#options.peer, code: errorCode(error) }, 'a path could not be changed');
    });
  }
}

function isLoopback({ host }: Endpoint): boolean {
  return host.startsWith('127.') || host === '::1';
}
