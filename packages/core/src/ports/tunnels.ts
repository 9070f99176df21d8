/**
 * WireGuard interfaces of this machine: what `network` and `node` need of `wireguard`.
 * Two implementations, the machine's own tools and memory, pass one compliance suite.
 */
import type { Endpoint } from './link.ts';

/** A peer as the contract has it; where it is reached is not said here. */
export interface TunnelPeer {
  /** As `wg` prints it. */
  readonly publicKey: string;
  /** CIDRs; no other peer of the tunnel has one of them. */
  readonly allowedIps: readonly string[];
}

/** One nftables table, whole. */
export interface PacketRules {
  /** What follows `table inet <name of the tunnel>`: the chains, in the language of nft. */
  readonly chains: string;
}

/** Another range under which the machine's programs see a network whose own range is taken here. */
export interface Remap {
  /** Both are CIDRs of the same size. */
  readonly network: string;
  readonly as: string;
}

/** One interface as it should be. */
export interface TunnelSpec {
  /** At most 15 characters; whatever carries this name is ours. */
  readonly name: string;
  /** Path of the network namespace it stands in; null = the agent's. Its UDP socket is always in the agent's. */
  readonly namespace: string | null;
  /** As `wg` prints it. */
  readonly privateKey: string;
  /** UDP. */
  readonly port: number;
  /** Bytes. */
  readonly mtu: number;
  /** With prefix length. */
  readonly addresses: readonly string[];
  /**
   * CIDRs that lead into it. Those of everything only where it stands in another namespace than the agent's: what else
   * runs on the machine keeps its own way out.
   */
  readonly routes: readonly string[];
  readonly peers: readonly TunnelPeer[];
  readonly rules: PacketRules;
  readonly remap?: Remap;
  /**
   * Packets pass on from peer to peer, or out; the rules say which. The interface's own switch; where it stands in another
   * namespace than the agent's, that one's too. The machine's own (`net.ipv4.ip_forward`) is its operator's to turn.
   */
  readonly forwards?: boolean;
}

/** A peer as it is now. */
export interface TunnelPeerState extends TunnelPeer {
  readonly endpoint: Endpoint | null;
  /** Milliseconds since 1970, whole seconds; null = never. */
  readonly handshakeAt: number | null;
  /** Bytes. */
  readonly received: number;
  readonly sent: number;
  /** 0 = off. */
  readonly keepaliveSeconds: number;
}

/** What changes while a peer stays; what is absent stays as it is. */
export interface PeerChange {
  readonly endpoint?: Endpoint;
  /** 0 = off. */
  readonly keepaliveSeconds?: number;
  /** As `wg` prints it; null = none. */
  readonly presharedKey?: string | null;
}

export interface Tunnels {
  readonly backend: 'kernel' | 'userspace' | 'memory';
  /**
   * Brings an interface in line, one change at a time: takes away first, then adds; never takes it down. What stands
   * already, by whatever process, is adopted; endpoints, keepalives and preshared keys stay. Resolves to what was done,
   * as people read it; empty when nothing was.
   * @throws `TUNNEL_FAILED`, `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN`; the packet rules then let nothing in.
   */
  apply(spec: TunnelSpec): Promise<readonly string[]>;
  /**
   * Takes these peers away, then puts the rules in the place of those that stand, at once: nothing is read or compared
   * before. Of an interface that this process applied; `apply` follows, and does the rest. Resolves like `apply`.
   * @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED`, `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN`
   */
  cut(name: string, publicKeys: readonly string[], rules: PacketRules): Promise<readonly string[]>;
  /** Peers of an interface, also those that only probe. @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED` */
  peers(name: string): Promise<readonly TunnelPeerState[]>;
  /** @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED` */
  setPeer(name: string, publicKey: string, change: PeerChange): Promise<void>;
  /**
   * Sends a handshake for a key that nobody holds to `endpoint` from the interface's UDP socket, at once and then every
   * 5 s until it is taken back: it opens a router's way, and shows an anchor the address behind it. The same key again
   * sends at once again. At most 64 for an interface, the oldest goes; `apply` lets them be.
   */
  probe(name: string, publicKey: string, endpoint: Endpoint): Promise<void>;
  endProbe(name: string, publicKey: string): Promise<void>;
  /** Interfaces of ours that stand on this machine. */
  list(): Promise<readonly string[]>;
  /** Takes an interface away with its rules, routes and process; one that is not there is no error. */
  remove(name: string): Promise<void>;
}
