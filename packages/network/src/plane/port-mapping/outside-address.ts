import { isIPv4 } from 'node:net';
import { MoatError } from '@moat/core';

/**
 * What a router says its address outside is, where others can reach that: behind a second router a mapping leads nowhere.
 * @throws `ROUTER_REFUSED` for an address of a LAN, a carrier's own network, this machine or nobody, or what is no address
 */
export function mustBePublic(host: string): string {
  if (isIPv4(host) && isPublic(host)) return host;
  throw new MoatError('ROUTER_REFUSED', 'the router has no public address', { details: { host: host.slice(0, 64) } });
}

function isPublic(host: string): boolean {
  const [a = 0, b = 0] = host.split('.').map(Number);
  if (a === 0 || a === 10 || a === 127 || a >= 224) return false;
  if ((a === 169 && b === 254) || (a === 192 && b === 168)) return false;
  return !(a === 172 && b >= 16 && b < 32) && !(a === 100 && b >= 64 && b < 128);
}
