/** What one member's WireGuard plane is to be: everything of it that the contract and this machine's consent decide. */
import type { ContractView, ServiceProtocol } from '@moat/contract';
import type { PacketRules, PeerId, Remap, TunnelPeer } from '@moat/core';
import type { ExposedTargets } from '../exposed.ts';

/** What the plane is worked out from besides the contract. */
export interface PlaneOptions {
  /** Consent on this machine, Moat's own sockets included: ask again when either changes. */
  readonly exposed: ExposedTargets;
  /** Milliseconds since 1970; ask again at `view.nextExpiry(now)`. */
  readonly now: number;
  /**
   * CIDRs of the networks that this machine stands in, host bits and all: with public addresses too they are not the
   * internet. @defaultValue none
   */
  readonly nearby?: readonly string[];
  /** Where the contract's range is taken on this machine: packet rules then speak of the other one, all else does not. */
  readonly remap?: Remap | undefined;
}

/** A peer of the interface: a member, or a device behind this one. */
export interface PlanePeer extends TunnelPeer {
  readonly member: string;
  /** Null for a device: it has no agent, and tells nobody where it is. */
  readonly peer: PeerId | null;
}

/** A service that this member may reach over the plane. */
export interface PlaneService {
  readonly service: string;
  readonly protocol: ServiceProtocol;
  readonly port: number;
  /** Who offers it there, this member included; addresses without prefix length. */
  readonly instances: readonly { readonly member: string; readonly address: string }[];
}

/**
 * Why a service of this member is not served on the plane: its operator did not expose the target; the target is a
 * name, no host's address, or IPv6 loopback, where packets cannot be sent on to; another service of this member has the port.
 */
export type UnservedReason = 'NOT_EXPOSED' | 'TARGET_NAMED' | 'TARGET_LOOPBACK6' | 'PORT_TAKEN';

export interface PlaneLayout {
  /** `moat` and ten characters that are this place's alone. */
  readonly name: string;
  /** With prefix length; the contract's IPv4, then the derived IPv6. */
  readonly addresses: readonly string[];
  /** In the contract's order. */
  readonly peers: readonly PlanePeer[];
  /** CIDRs: the deployment's network, and everything where an egress line lets us leave. */
  readonly routes: readonly string[];
  readonly services: readonly PlaneService[];
  readonly unserved: readonly { readonly service: string; readonly reason: UnservedReason }[];
  readonly rules: PacketRules;
  /**
   * What the machine must forward: nothing; packets that enter and leave by this interface (devices); also packets
   * from or to others (egress through us, targets on other hosts).
   */
  readonly forwarding: 'none' | 'inside' | 'outside';
  /** The member through whom we leave to the internet. */
  readonly leavesBy: string | null;
}

/** `self` is a member's name. Null = no interface: ended, rootless, not our place now, or no WireGuard key. */
export type PlaneOf = (view: ContractView, self: string, options: PlaneOptions) => PlaneLayout | null;
