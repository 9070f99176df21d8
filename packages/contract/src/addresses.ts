/** IPv4 addresses inside a network: allocated by whoever writes the contract, checked by every node. */
import { MoatError } from '@moat/core';
import { isIpv4 } from './ip.ts';
import type { Contract } from './schema.ts';

/** An IPv4 network, numbers unsigned: `first` is the network address, `last` the broadcast address. */
export interface Ipv4Network {
  readonly first: number;
  readonly last: number;
  readonly prefix: number;
}

/** Where a network may lie: RFC 1918, RFC 6598 (shared address space), RFC 2544 (benchmarks). */
const PERMITTED: readonly (readonly [string, number])[] = [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
  ['198.18.0.0', 15],
];

/**
 * Parses `10.77.0.0/16`.
 * @throws `ADDRESS_INVALID` for anything but canonical text with host bits zero, a prefix of 8–29, inside
 * the private ranges (RFC 1918), shared address space (RFC 6598) or benchmark space (RFC 2544).
 */
export function parseNetwork(cidr: string): Ipv4Network {
  const [address = '', length = '', ...rest] = cidr.split('/', 3);
  if (rest.length > 0 || !isIpv4(address) || !/^(?:8|9|1\d|2\d)$/.test(length)) {
    throw invalid(cidr, 'a network is written as 10.77.0.0/16, with a prefix of 8 to 29');
  }
  const network = networkAt(address, Number(length));
  if (network.first !== toNumber(address)) throw invalid(cidr, 'the bits after the prefix are not zero');
  if (!PERMITTED.some(([base, prefix]) => contains(networkAt(base, prefix), network))) {
    throw invalid(cidr, 'not inside 10/8, 172.16/12, 192.168/16, 100.64/10 or 198.18/15');
  }
  return network;
}

/** True when two networks share an address. @throws `ADDRESS_INVALID` */
export function networksOverlap(a: string, b: string): boolean {
  const one = parseNetwork(a);
  const other = parseNetwork(b);
  return one.first <= other.last && other.first <= one.last;
}

/**
 * The lowest free address; the network address, the first host (kept for the agent itself) and the
 * broadcast address are never given out.
 * @throws `ADDRESS_INVALID` for a bad network, `ADDRESS_EXHAUSTED` when none is free.
 */
export function allocateAddress(cidr: string, taken: Iterable<string>): string {
  const { first, last } = parseNetwork(cidr);
  const used = new Set(taken);
  for (let address = first + 2; address < last; address++) {
    const text = toText(address);
    if (!used.has(text)) return text;
  }
  throw new MoatError('ADDRESS_EXHAUSTED', `no free address in ${cidr}`, { details: { network: cidr } });
}

/** @throws `ADDRESS_INVALID` unless each member has an address of its own inside the network, none reserved. */
export function checkAddresses(contract: Pick<Contract, 'network' | 'members'>): void {
  const cidr = contract.network.ipv4;
  const { first, last } = parseNetwork(cidr);
  const owner = new Map<string, string>();
  for (const [i, { name, ipv4 }] of contract.members.entries()) {
    const path = `members[${i}].ipv4`;
    if (!isIpv4(ipv4)) throw invalid(ipv4, `${name}'s address is not an IPv4 address`, path);
    const address = toNumber(ipv4);
    if (address < first || address > last) throw invalid(ipv4, `${name}'s address is outside ${cidr}`, path);
    if (address <= first + 1 || address === last) throw invalid(ipv4, `${name}'s address is reserved`, path);
    const other = owner.get(ipv4);
    if (other !== undefined) throw invalid(ipv4, `${name} and ${other} have the same address`, path);
    owner.set(ipv4, name);
  }
}

function networkAt(base: string, prefix: number): Ipv4Network {
  const size = 2 ** (32 - prefix);
  const first = Math.floor(toNumber(base) / size) * size;
  return { first, last: first + size - 1, prefix };
}

function contains(outer: Ipv4Network, inner: Ipv4Network): boolean {
  return outer.first <= inner.first && inner.last <= outer.last;
}

function toNumber(address: string): number {
  return address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

function toText(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

function invalid(address: string, reason: string, path = 'network.ipv4'): MoatError<'ADDRESS_INVALID'> {
  return new MoatError('ADDRESS_INVALID', reason, { details: { address: address.slice(0, 64), path } });
}
