/** What shares one bound of the DNS: an IPv4 /24, an IPv6 /56. What is smaller is a forged sender's to choose. */
import { addressKey } from '@moat/core';

export function prefixOf(address: string): string {
  const key = addressKey(address);
  if (!key.endsWith('::/64')) return key.slice(0, key.lastIndexOf('.'));
  const [a = '', b = '', c = '', d = ''] = key.slice(0, -'::/64'.length).split(':');
  return `${a}:${b}:${c}:${d.padStart(4, '0').slice(0, 2)}`;
}
