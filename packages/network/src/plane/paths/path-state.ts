/** Which way the packets of a peer go now, and why not directly. */
import type { Endpoint, LinkPath, PeerId } from '@moat/core';

import type { CandidateKind } from './candidates.ts';

/** Why packets of a peer do not go directly. Beside each: the words for people. */
export const PATH_REASONS = {
  NO_TRAFFIC: 'nothing was sent lately',
  STARTING: 'the ways between the two machines are being looked for',
  BOTH_SYMMETRIC: 'both routers choose a new port for each destination (symmetric NAT)',
  PEER_SYMMETRIC: "the peer's router chooses a new port for each destination, and ours lets only known addresses in",
  WE_SYMMETRIC: "our router chooses a new port for each destination, and the peer's lets only known addresses in",
  UDP_BLOCKED: 'no UDP packet of this machine arrived at any anchor',
  PEER_UDP_BLOCKED: 'no UDP packet of the peer arrived at any anchor',
  NO_ANCHOR: 'no anchor of the contract could say how this machine is seen',
  PEER_NO_ANCHOR: 'no anchor of the contract could say how the peer is seen',
  NO_COMMON_WAY: 'the two machines have no kind of address in common',
  UNANSWERED: 'packets sent directly did not arrive',
  PATH_DIED: 'packets stopped arriving on the way that was used',
  PEER_UNREACHABLE: "the peer's agent is not reachable, so no way can be agreed on",
  PEER_REFUSED: "the peer's agent does not take part",
  PEER_BUSY: "the peer's agent agrees on as many ways as it can",
  NETWORK_CHANGED: 'the network of one of the machines changed',
} as const;

/** One of {@link PATH_REASONS}. */
export type PathReason = keyof typeof PATH_REASONS;

/** A reason with its words. */
export interface WhyNotDirect {
  readonly code: PathReason;
  readonly text: string;
}

/** The reason in plain words. */
export function whyNotDirect(code: PathReason): WhyNotDirect {
  return { code, text: PATH_REASONS[code] };
}

/** What kind of address a direct way uses; `roamed` = WireGuard found it by itself. */
export type DirectBy = CandidateKind | 'roamed';

/** A peer's way; `since` is in milliseconds since 1970. */
export type PathState =
  /** The first packet, from either side, wakes the path. */
  | { readonly kind: 'asleep'; readonly since: number; readonly why: WhyNotDirect }
  /** Inside a link; `over` is null while no link stands. */
  | { readonly kind: 'riding'; readonly since: number; readonly over: LinkPath | null; readonly why: WhyNotDirect }
  /** Both machines try addresses of each other. */
  | { readonly kind: 'punching'; readonly since: number; readonly why: WhyNotDirect }
  | { readonly kind: 'direct'; readonly since: number; readonly endpoint: Endpoint; readonly by: DirectBy }
  /** Over UDP by a member that passes packets on and cannot read them. */
  | {
      readonly kind: 'forwarded';
      readonly since: number;
      readonly endpoint: Endpoint;
      readonly forwarder: PeerId;
      readonly why: WhyNotDirect;
    };

/** One line of `status`. */
export interface PathLine {
  readonly peer: PeerId;
  /** As `wg` prints it. */
  readonly publicKey: string;
  readonly state: PathState;
  /** 0 = none is sent. */
  readonly keepaliveSeconds: number;
  /** Milliseconds since 1970 of the next try for a better way; null = none is planned. */
  readonly nextTryAt: number | null;
}
