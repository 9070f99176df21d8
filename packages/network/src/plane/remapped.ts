/** Addresses of a network that stands under another range on this machine. */
import type { Remap } from '@moat/core';

/** The address under which programs here reach `address`; the same one where nothing is remapped, and for IPv6. */
export function remapped(address: string, remap: Remap | undefined): string {
  if (remap === undefined || address.includes(':')) return address;
  const [base = '', length = '32'] = remap.network.split('/');
  const [as = ''] = remap.as.split('/');
  const host = 2 ** (32 - Number(length));
  const [value, from, to] = [address, base, as].map(numberOf) as [number, number, number];
  if (Math.floor(value / host) !== Math.floor(from / host)) return address;
  return textOf(Math.floor(to / host) * host + (value % host));
}

function numberOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

function textOf(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}
