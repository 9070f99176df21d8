/**
 * Moves a peer of a tunnel to another way without losing the one it has. A probe for a key that nobody holds opens our
 * router's way first. Then the peer's endpoint is moved and a packet sent there; WireGuard itself says whether the other
 * is heard: each authentic packet counts as received, and makes where it came from the peer's endpoint. Late packets on
 * the old way move it back, so it is moved again until both sides agreed. What is sent to where nobody listens is lost,
 * so a way that seldom works, or does not stand yet, gets a packet of ours now and then, and nobody else's.
 */
import { randomBytes } from 'node:crypto';

import { sleep, type Clock, type Endpoint, type TunnelPeerState, type Tunnels } from '@moat/core';

import type { PacketRide } from './path-ports.ts';

/** Milliseconds between two looks at the counters, and where the next packet on the old way may undo what there was to see. */
const LOOK_MS = 50;
const SHORT_LOOK_MS = 20;
/** Milliseconds between two packets of ours until both sides agreed. */
const AGAIN_MS = 150;
/**
 * Bytes that passed since it began, from which on we move for good though packets were to go on elsewhere: each packet of
 * such a flow moves the peer's endpoint back there before anybody looks, and what is lost is sent again.
 */
const FLOW_BYTES = 16 * 1024;
/** Milliseconds that packets wait after one of ours, for the peer to see where that came from before they move its endpoint back. */
const HOLD_MS = 120;
/** Packets of ours after which we move for good too. */
const KNOCKS = 5;

/** A peer of a tunnel. */
export interface TunnelPlace {
  readonly tunnel: string;
  readonly publicKey: string;
}

export interface PunchOrder {
  /** Where the peer may be; null waits for its packets. */
  readonly to: Endpoint | null;
  /** Key of the probe that opens the way. @defaultValue one that nobody knows */
  readonly probeKey?: string;
  /** The ways packets took until now: what arrives there proves nothing. */
  readonly leave: readonly Endpoint[];
  /** Where packets go on until the peer is heard: they would be lost on a way that does not stand yet. @defaultValue they move */
  readonly back?: Pick<PacketRide, 'endpoint' | 'hold'> | undefined;
  /** Milliseconds between opening the way and moving. */
  readonly afterMs: number;
  /** Milliseconds, once moved. */
  readonly lastsMs: number;
  /** Called when the peer is heard. */
  readonly onHeard: (endpoint: Endpoint) => void;
  /** True once both sides heard each other; asked at each look. */
  readonly agreed: () => boolean;
}

export interface PunchDeps {
  readonly tunnels: Tunnels;
  readonly clock: Clock;
}

/**
 * Where the peer was heard, as soon as that is agreed or when time is over; null = nowhere. Leaves the endpoint where it
 * was last: who asked puts it right.
 * @throws the signal's reason, `TUNNEL_UNKNOWN`, `TUNNEL_FAILED`
 */
export async function punch(
  deps: PunchDeps,
  place: TunnelPlace,
  order: PunchOrder,
  signal: AbortSignal,
): Promise<Endpoint | null> {
  const { clock, tunnels } = deps;
  const key = order.probeKey ?? randomBytes(32).toString('base64');
  if (order.to !== null) await tunnels.probe(place.tunnel, key, order.to);
  try {
    if (order.afterMs > 0) await sleep(clock, order.afterMs, signal);
    return await new Punch(deps, place, order).run(signal);
  } finally {
    order.back?.hold(0);
    if (order.to !== null) await tunnels.endProbe(place.tunnel, key);
  }
}

class Punch {
  readonly #deps: PunchDeps;
  readonly #place: TunnelPlace;
  readonly #order: PunchOrder;
  #target: Endpoint | null;
  #movedAt = 0;
  #knocks = 0;
  /** The endpoint that we set, or met, and the bytes received by then. */
  #left: { readonly endpoint: Endpoint | null; readonly received: number } = { endpoint: null, received: 0 };
  #heard: Endpoint | null = null;

  constructor(deps: PunchDeps, place: TunnelPlace, order: PunchOrder) {
    this.#deps = deps;
    this.#place = place;
    this.#order = order;
    this.#target = order.to;
  }

  async run(signal: AbortSignal): Promise<Endpoint | null> {
    const { agreed, back, lastsMs } = this.#order;
    const { clock } = this.#deps;
    const until = clock.now() + lastsMs;
    const start = await peerOf(this.#deps.tunnels, this.#place);
    this.#left = { endpoint: start?.endpoint ?? null, received: start?.received ?? 0 };
    await this.#knock(back === undefined);
    for (;;) {
      const mayBeMovedAway = this.#heard === null && (this.#target === null || back !== undefined);
      await sleep(clock, mayBeMovedAway ? SHORT_LOOK_MS : LOOK_MS, signal);
      const state = await this.#look();
      if (this.#heard !== null && agreed()) return this.#heard;
      if (clock.now() >= until) return this.#heard;
      const isFlowing = bytesOf(state) - bytesOf(start) >= FLOW_BYTES;
      const stays = back === undefined || this.#heard !== null || isFlowing || this.#knocks >= KNOCKS;
      const isAway = stays && !this.#isElsewhere(state);
      if (isAway || clock.now() - this.#movedAt >= AGAIN_MS) await this.#knock(stays);
    }
  }

  async #look(): Promise<TunnelPeerState | undefined> {
    const state = await peerOf(this.#deps.tunnels, this.#place);
    if (this.#heard !== null || !this.#isHeard(state)) return state;
    this.#heard = this.#target = state.endpoint;
    // So that it hears us too, also where we only waited.
    await this.#knock(true);
    this.#order.onHeard(state.endpoint);
    return state;
  }

  /** The last packet came by a new way: it moved the endpoint there, or came after we did; any on the old way moves it back. */
  #isHeard(state: TunnelPeerState | undefined): state is TunnelPeerState & { readonly endpoint: Endpoint } {
    if (state === undefined || state.endpoint === null || !this.#isElsewhere(state)) return false;
    const { endpoint, received } = this.#left;
    return endpoint === null || !isSame(endpoint, state.endpoint) || state.received > received;
  }

  #isElsewhere(state: TunnelPeerState | undefined): boolean {
    const endpoint = state?.endpoint ?? null;
    return endpoint !== null && !this.#order.leave.some((old) => isSame(old, endpoint));
  }

  async #knock(stays: boolean): Promise<void> {
    const { clock, tunnels } = this.#deps;
    const { publicKey, tunnel } = this.#place;
    const { back } = this.#order;
    this.#movedAt = clock.now();
    this.#knocks += 1;
    if (this.#target === null) return;
    if (this.#heard !== null) back?.hold(0);
    else back?.hold(HOLD_MS);
    await sendTo(tunnels, this.#place, this.#target);
    if (!stays && back !== undefined) {
      await tunnels.setPeer(tunnel, publicKey, { endpoint: back.endpoint });
      this.#left = { endpoint: back.endpoint, received: 0 };
    } else if (this.#heard === null) {
      const received = (await peerOf(tunnels, this.#place))?.received ?? 0;
      this.#left = { endpoint: this.#target, received };
    }
  }
}

/** Moves the endpoint and has WireGuard send an empty packet there now, which it does when its keepalive is turned on. */
export async function sendTo(tunnels: Tunnels, { tunnel, publicKey }: TunnelPlace, endpoint: Endpoint): Promise<void> {
  await tunnels.setPeer(tunnel, publicKey, { keepaliveSeconds: 0 });
  await tunnels.setPeer(tunnel, publicKey, { endpoint, keepaliveSeconds: 1 });
}

/** The peer as it is now. @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED` */
export async function peerOf(tunnels: Tunnels, place: TunnelPlace): Promise<TunnelPeerState | undefined> {
  return (await tunnels.peers(place.tunnel)).find(({ publicKey }) => publicKey === place.publicKey);
}

function bytesOf(state: TunnelPeerState | undefined): number {
  return (state?.sent ?? 0) + (state?.received ?? 0);
}

/** True for the same address and port. */
export function isSame(a: Endpoint, b: Endpoint): boolean {
  return a.host === b.host && a.port === b.port;
}
