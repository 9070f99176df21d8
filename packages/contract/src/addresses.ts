/** IPv4 addresses inside a network: allocated by whoever writes the contract, checked by every node. */
import { MoatError } from '@moat/core';
import type { Contract } from './schema.ts';

/** An IPv4 network, numbers unsigned: `first` is the network address, `last` the broadcast address. */
export interface Ipv4Network {
  readonly first: number;
  readonly last: number;
  readonly prefix: number;
}

/**
 * Parses `10.77.0.0/16`.
 * @throws `ADDRESS_INVALID` for anything but canonical text with host bits zero, a prefix of 8–29, inside
 * the private ranges (RFC 1918), shared address space (RFC 6598) or benchmark space (RFC 2544).
 */
export function parseNetwork(cidr: string): Ipv4Network {
  throw new MoatError('ADDRESS_INVALID', cidr);
}

/** True when two networks share an address. @throws `ADDRESS_INVALID` */
export function networksOverlap(a: string, b: string): boolean {
  throw new MoatError('ADDRESS_INVALID', a + b);
}

/**
 * The lowest free address; the network address, the first host (kept for the agent itself) and the
 * broadcast address are never given out.
 * @throws `ADDRESS_INVALID` for a bad network, `ADDRESS_EXHAUSTED` when none is free.
 */
export function allocateAddress(cidr: string, taken: Iterable<string>): string {
  throw new MoatError('ADDRESS_INVALID', cidr + [...taken].length);
}

/** @throws `ADDRESS_INVALID` unless each member has an address of its own inside the network, none reserved. */
export function checkAddresses(contract: Pick<Contract, 'network' | 'members'>): void {
  throw new MoatError('ADDRESS_INVALID', contract.network.ipv4);
}
