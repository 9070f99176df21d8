/** What paths need of the machine and of other members, besides core's ports. */
import type { DeploymentId, Endpoint, LinkPath, Observation, PeerConnection, PeerId } from '@moat/core';

/** Asks an anchor over a direct connection for the address that probes for `key` come from. */
export type Observe = (connection: PeerConnection, key: string, signal: AbortSignal) => Promise<Observation>;

/** A connection to an anchor of the contract, which keeps a place for this machine or is asked for one. */
export type ConnectAnchor = (anchor: PeerId, signal: AbortSignal) => Promise<PeerConnection>;

/** A loopback UDP socket whose packets go to one peer inside a link, and back. */
export interface PacketRide {
  /** Where WireGuard sends what shall ride, and where it sees it come from. */
  readonly endpoint: Endpoint;
  /** How packets go now; null while nothing runs. */
  readonly path: LinkPath | null;
  /** Set once: called for the first packet, from either side, after the ride was opened or put to rest. */
  onWake: () => void;
  /** What WireGuard sends waits so many milliseconds; 0 lets it go now. */
  hold(delayMs: number): void;
  /** Ends the stream in the link and keeps the socket: the next packet wakes it again. */
  rest(): void;
  close(): Promise<void>;
}

/** Opens the ride of a peer, for as long as the peer is one. @throws `LISTEN_FAILED` */
export type OpenRide = (peer: PeerId) => Promise<PacketRide>;

/** A UDP port of a member that passes packets on between two peers of it. */
export interface ForwardSession {
  /** Where our packets go; always an address of the forwarder itself. */
  readonly endpoint: Endpoint;
  /** As `wg` prints it; nobody holds it: a probe for it tells the forwarder where we are. */
  readonly key: string;
  /** Where the forwarder sees us, once it does. */
  readonly learned: Promise<Endpoint>;
  /** Aborted when the forwarder says no more; asked again it gives the same session. */
  readonly closed: AbortSignal;
  close(): void;
}

/** Joins the session of a pair at a member, or begins it. @throws `FORWARD_REFUSED` and what the control plane throws */
export type OpenForward = (
  connection: PeerConnection,
  pair: { readonly deployment: DeploymentId; readonly peer: PeerId },
  signal: AbortSignal,
) => Promise<ForwardSession>;
