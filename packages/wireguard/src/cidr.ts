/** Addresses and ranges in the one form in which this package compares them. */
import { isIPv4, isIPv6 } from 'node:net';
import { failure } from './errors.ts';

/** An IP address in its shortest form. @throws `TUNNEL_FAILED` */
export function canonicalAddress(address: string): string {
  if (isIPv4(address)) return address;
  // An address with a zone is no address of a network.
  if (!isIPv6(address) || address.includes('%'))
    throw failure('TUNNEL_FAILED', `${short(address)} is not an IP address`);
  return new URL(`http://[${address}]`).hostname.slice(1, -1);
}

/** An address with its prefix length: `10.77.0.2` becomes `10.77.0.2/32`. @throws `TUNNEL_FAILED` */
export function canonicalInterfaceAddress(text: string): string {
  const { address, length } = split(text);
  return `${address}/${length}`;
}

/** A range with the bits behind its prefix cleared: `10.77.0.2/16` becomes `10.77.0.0/16`. @throws `TUNNEL_FAILED` */
export function canonicalCidr(text: string): string {
  const { address, length } = split(text);
  const bytes = addressBytes(address).map((byte, index) => {
    const kept = Math.min(8, Math.max(0, length - index * 8));
    return byte & (0xff00 >> kept) & 0xff;
  });
  return `${canonicalAddress(formatBytes(bytes))}/${length}`;
}

/** True for an address or range of IPv6. */
export function isIpv6Range(text: string): boolean {
  return text.includes(':');
}

/** True for the range of all addresses of a family. @throws `TUNNEL_FAILED` when it is none */
export function isEverywhere(text: string): boolean {
  return split(text).length === 0;
}

/** The same address or range of `to` where it lies in `from`, a range of the same size; else as it is. */
export function moveRange(text: string, from: string, to: string): string {
  const { address, length } = split(text);
  const size = split(from).length;
  const inside = address.includes(':') === from.includes(':') && length >= size;
  if (!inside || canonicalCidr(`${address}/${size}`) !== canonicalCidr(from)) return `${address}/${length}`;
  const base = addressBytes(canonicalCidr(to).split('/')[0] ?? '');
  const moved = addressBytes(address).map((byte, index) => {
    const kept = Math.min(8, Math.max(0, size - index * 8));
    const mask = (0xff00 >> kept) & 0xff;
    return ((base[index] ?? 0) & mask) | (byte & ~mask & 0xff);
  });
  return `${canonicalAddress(formatBytes(moved))}/${length}`;
}

/** The 4 or 16 bytes of a canonical address. */
function addressBytes(address: string): number[] {
  if (!address.includes(':')) return address.split('.').map(Number);
  const [head = '', tail] = address.split('::');
  const left = words(head);
  const right = tail === undefined ? [] : words(tail);
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => 0);
  return [...left, ...zeros, ...right].flatMap((word) => [word >> 8, word & 0xff]);
}

function words(text: string): number[] {
  return text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16));
}

function formatBytes(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join('.');
  return Array.from({ length: 8 }, (_, index) =>
    (((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)).toString(16),
  ).join(':');
}

function split(text: string): { address: string; length: number } {
  const [host = '', prefix, ...more] = text.split('/');
  const address = canonicalAddress(host);
  const bits = address.includes(':') ? 128 : 32;
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
  if (more.length > 0 || !(length <= bits))
    throw failure('TUNNEL_FAILED', `${short(text)} is not a range of addresses`);
  return { address, length };
}

function short(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}
