/** What an exchange over `/moat/path/1` is about: one pair, the ways it has, and what came of it. */
import type { Clock, ControlPlane, DeploymentId, Endpoint, PeerConnection, PeerId, Tunnels } from '@moat/core';

import type { CandidateKind } from './candidates.ts';
import type { ForwardSession, OpenForward, PacketRide } from './path-ports.ts';
import type { PathReason } from './path-state.ts';
import type { TunnelPlace } from './punch.ts';
import type { Surveyor } from './survey.ts';

/** One pair as the side that talks about it sees it. */
export interface Pair {
  readonly deployment: DeploymentId;
  readonly peer: PeerId;
  readonly place: TunnelPlace;
  /** Where packets ride. */
  readonly ride: Pick<PacketRide, 'endpoint' | 'hold'>;
  /** The connection on which the peer was last met: of several, the one that is not dead. */
  readonly met: PeerConnection | undefined;
  /** The member that passes packets on now, and where. */
  readonly forward: { readonly by: PeerId; readonly endpoint: Endpoint } | null;
}

export interface ExchangeDeps {
  readonly control: ControlPlane;
  readonly tunnels: Tunnels;
  readonly clock: Clock;
  readonly surveyor: Surveyor;
  /** CIDRs inside tunnels. */
  readonly excluded: () => readonly string[];
  readonly openForward: OpenForward | undefined;
  /** Members that pass packets on and may be asked for this pair now, best first. */
  readonly forwarders: (peer: PeerId) => readonly PeerId[];
  /** False while handshakes with the peer cannot work: it has no preshared key yet. */
  readonly mayMeet: (peer: PeerId) => boolean;
  /** The peer named members that could pass packets on. */
  readonly onForwarders: (peer: PeerId, forwarders: readonly PeerId[]) => void;
  /** Addresses are being tried from now on. */
  readonly onPunching: () => void;
}

/** Which way the exchange found; `unchanged` = the one there was. */
export type Outcome =
  | { readonly kind: 'direct'; readonly endpoint: Endpoint; readonly by: CandidateKind; readonly keepsAlive: boolean }
  | {
      readonly kind: 'forwarded';
      readonly endpoint: Endpoint;
      readonly by: PeerId;
      readonly session: ForwardSession;
      readonly why: PathReason;
      readonly keepsAlive: boolean;
    }
  | { readonly kind: 'unchanged'; readonly why: PathReason };

/** A connection to talk about the pair on. @throws what the control plane throws */
export function reach(control: ControlPlane, { met, peer }: Pair, signal: AbortSignal): Promise<PeerConnection> {
  return met === undefined || met.closed.aborted ? control.connect(peer, signal) : Promise.resolve(met);
}

/**
 * Has a direct connection to a forwarder stand by the time that it is asked: the one by which it is reached first may lead
 * over an anchor, and the forwarder passes packets on only where it sees us itself.
 */
export function comeNear({ control }: ExchangeDeps, forwarder: PeerId | undefined, signal: AbortSignal): void {
  if (forwarder === undefined || control.connections(forwarder).some(({ remote }) => remote !== null)) return;
  control.connect(forwarder, signal).then(
    ({ remote }) => {
      if (remote === null) control.improve(forwarder);
    },
    // whoever asks it is told
    () => undefined,
  );
}

/** Ways that packets took until now. */
export function waysOf({ ride, forward }: Pair): readonly Endpoint[] {
  return forward === null ? [ride.endpoint] : [ride.endpoint, forward.endpoint];
}

/** Routers forget an address that nothing is sent to; none stands between two machines of one LAN, or before us alone. */
export function needsKeepalive(surveyor: Surveyor, by: CandidateKind | 'forwarded'): boolean {
  return by !== 'lan' && surveyor.known?.nat !== 'none';
}
