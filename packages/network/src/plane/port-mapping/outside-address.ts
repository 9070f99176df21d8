import { isIPv4 } from 'node:net';
import { MoatError } from '@moat/core';
import { isPrivate, isUsable } from '../paths/candidates.ts';

/**
 * What a router says its address outside is, where others can reach that: behind a second router a mapping leads nowhere.
 * @throws `ROUTER_REFUSED` for an address of a LAN, a carrier's own network, this machine or nobody, or what is no address
 */
export function mustBePublic(host: string): string {
  if (isIPv4(host) && isUsable(host) && !isPrivate(host)) return host;
  throw new MoatError('ROUTER_REFUSED', 'the router has no public address', { details: { host: host.slice(0, 64) } });
}
