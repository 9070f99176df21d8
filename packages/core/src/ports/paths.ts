/**
 * What the paths of the WireGuard plane ask of others: where our packets come from as others see it, by which key a
 * handshake is known, and a way through this network's router.
 */
import type { Endpoint } from './link.ts';

/**
 * Somebody waits for a WireGuard handshake for a key that only we and they know, and tells where it came from. Between
 * the two, our interface has to send one: see `Tunnels.probe`.
 */
export interface Observation {
  /** UDP, at an IP address. */
  readonly listening: Endpoint;
  /** Rejects with `OBSERVE_SILENT` when no handshake arrived in time. Need not be awaited. */
  readonly observed: Promise<Endpoint>;
}

/**
 * The test of one WireGuard public key: for a handshake initiation that was made for it (its `mac1` fits; WireGuard paper
 * §5.4.4) a text that only the same packet has again, else undefined. Says nothing about who made it: whoever knows the
 * key can. One call costs up to ten microseconds.
 */
export type InitiationTest = (packet: Uint8Array) => string | undefined;

/** @param publicKey as `wg` prints it. */
export type InitiationTests = (publicKey: string) => InitiationTest;

/** How a router was asked for a port: RFC 6886, or UPnP's Internet Gateway Device. */
export type MappingProtocol = 'nat-pmp' | 'upnp';

/** A UDP port of this machine as the router shows it to the world. */
export interface PortMapping {
  readonly external: Endpoint;
  /** Milliseconds since 1970; renewed before. */
  readonly expires: number;
  readonly protocol: MappingProtocol;
}

/** Asks this network's router for a way in. Nothing here is ever fatal, and nothing rejects. */
export interface PortMapper {
  /** Asks for a mapping of `port`, renewed until it is given back; again when the network changed. Null where no router grants one now. */
  map(port: number): Promise<PortMapping | null>;
  /** What leads to `port` now. */
  mapping(port: number): PortMapping | null;
  /** Called with a port whose mapping came, changed or went; returns the way to unsubscribe. */
  onChange(listener: (port: number) => void): () => void;
  /** Gives back what leads to `port`, as far as the router answers within two seconds. */
  unmap(port: number): Promise<void>;
}
