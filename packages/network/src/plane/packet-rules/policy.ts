/**
 * Which packets may pass one member's interface, as plain values: what `nft-chains` prints for the kernel, and what
 * tests ask about single packets. Everything that is not listed here is dropped.
 */

/** How a service is carried; http and gRPC are TCP here. */
export type Transport = 'tcp' | 'udp';

/** IPv4 and IPv6 addresses without prefix length, each list ascending by the contract's order. */
export interface Addresses {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
}

/** Some of those to whom something is granted, and when it ends: the kernel closes it then, with or without the agent. */
export interface Granted extends Addresses {
  /** Milliseconds since 1970; infinite when nothing ends. */
  readonly untilMs: number;
}

/** A service of this member whose target its operator exposed: packets to its port are sent on to the target. */
export interface ServedPort {
  readonly service: string;
  readonly transport: Transport;
  /** Inside the network. */
  readonly port: number;
  /** IP addresses only; its family is the one in which the service is reached. */
  readonly target: { readonly host: string; readonly port: number };
  /** Who may; one entry an end. */
  readonly from: readonly Granted[];
  /** May programs of this machine reach it by the member's own address? */
  readonly self: boolean;
}

/** A port of others that this member's programs may reach. */
export interface ReachedPort {
  readonly transport: Transport;
  readonly port: number;
  readonly to: Addresses;
}

/** A port of others that devices behind this member may reach through it. */
export interface CarriedPort extends ReachedPort {
  readonly from: Granted;
}

export interface PlanePolicy {
  /** The interface's name; those of other private networks on this machine begin with `moat` too. */
  readonly name: string;
  readonly own: { readonly ipv4: string; readonly ipv6: string };
  /** Whose packets WireGuard lets out of the tunnel at all. */
  readonly known: Addresses;
  /** With whom there is a grant in either direction: they may ask each other for an echo. */
  readonly pairs: Addresses;
  /** At most one for each transport and port. */
  readonly served: readonly ServedPort[];
  /** At most one for each transport and port. */
  readonly reached: readonly ReachedPort[];
  readonly carried: readonly CarriedPort[];
  /** Who leaves to the internet by this machine; one entry an end. */
  readonly leaving: readonly Granted[];
  /** CIDRs of the networks this machine stands in: nobody's way out leads there. */
  readonly nearby: Addresses;
  /** Does this member leave to the internet by another? */
  readonly leaves: boolean;
}
