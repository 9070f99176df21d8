/**
 * Moves a peer of a tunnel to another way without losing the one it has. A probe for a key that nobody holds opens our
 * router's way first. Then the peer's endpoint is moved and a packet sent there; WireGuard itself says whether the other
 * is heard: each authentic packet counts as received, and makes where it came from the peer's endpoint. Late packets on
 * the old way move it back, so it is moved again until both sides agreed.
 */
import { randomBytes } from 'node:crypto';

import { sleep, type Clock, type Endpoint, type TunnelPeerState, type Tunnels } from '@moat/core';

/** Milliseconds between two looks at the counters. */
const LOOK_MS = 50;
/** Milliseconds between two packets of ours until both sides agreed. */
const AGAIN_MS = 150;

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
  const { tunnel } = place;
  const key = order.probeKey ?? randomBytes(32).toString('base64');
  let target = order.to;
  if (target !== null) await tunnels.probe(tunnel, key, target);
  try {
    if (order.afterMs > 0) await sleep(clock, order.afterMs, signal);
    let movedAt = clock.now();
    const until = movedAt + order.lastsMs;
    if (target !== null) await sendTo(tunnels, place, target);
    const before = (await peerOf(tunnels, place))?.received ?? 0;
    let heard: Endpoint | null = null;
    for (;;) {
      await sleep(clock, LOOK_MS, signal);
      const state = await peerOf(tunnels, place);
      const endpoint = state?.endpoint ?? null;
      const isHere = endpoint !== null && !order.leave.some((old) => isSame(old, endpoint));
      if (isHere && (state?.received ?? 0) > before && heard === null) {
        heard = endpoint;
        target = endpoint;
        movedAt = clock.now();
        // So that it hears us too, also where we only waited.
        await sendTo(tunnels, place, endpoint);
        order.onHeard(endpoint);
      }
      if (heard !== null && order.agreed()) return heard;
      const now = clock.now();
      if (now >= until) return heard;
      if (target !== null && (!isHere || now - movedAt >= AGAIN_MS)) {
        movedAt = now;
        await sendTo(tunnels, place, target);
      }
    }
  } finally {
    if (order.to !== null) await tunnels.endProbe(tunnel, key);
  }
}

/** Moves the endpoint and has WireGuard send an empty packet there now, which it does when its keepalive is turned on. */
export async function sendTo(tunnels: Tunnels, { tunnel, publicKey }: TunnelPlace, endpoint: Endpoint): Promise<void> {
  await tunnels.setPeer(tunnel, publicKey, { endpoint, keepaliveSeconds: 0 });
  await tunnels.setPeer(tunnel, publicKey, { keepaliveSeconds: 1 });
}

/** The peer as it is now. @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED` */
export async function peerOf(tunnels: Tunnels, place: TunnelPlace): Promise<TunnelPeerState | undefined> {
  return (await tunnels.peers(place.tunnel)).find(({ publicKey }) => publicKey === place.publicKey);
}

/** True for the same address and port. */
export function isSame(a: Endpoint, b: Endpoint): boolean {
  return a.host === b.host && a.port === b.port;
}
