/** Where packets for a service can be sent on to on its member's machine, as far as its contract tells. Pure. */
import { parseTarget } from '@moat/contract';
import type { UnservedReason } from './plane-layout.ts';

export type PlaneTarget =
  | { readonly family: 4 | 6; readonly host: string; readonly port: number; readonly reason?: never }
  | { readonly reason: UnservedReason };

/**
 * `localhost` is IPv4 loopback. Linux sends no packet on from an interface to IPv6 loopback, and a name has no address
 * before somebody looked it up: services with such targets are reached by links alone.
 * @param target of a contract.
 */
export function planeTargetOf(target: string): PlaneTarget {
  const { host, port } = parseTarget(target);
  if (host.toLowerCase() === 'localhost') return { family: 4, host: '127.0.0.1', port };
  if (host.includes(':')) return ipv6Target(new URL(`http://[${host}]/`).hostname.slice(1, -1), port);
  const [first] = host.split('.', 1);
  if (!/^[\d.]+$/.test(host)) return { reason: 'TARGET_NAMED' };
  // "This network", multicast and broadcast are no hosts.
  return Number(first) === 0 || Number(first) >= 224 ? { reason: 'TARGET_NAMED' } : { family: 4, host, port };
}

/** Only global and unique local addresses name a host without more: link-local ones need an interface. */
function ipv6Target(host: string, port: number): PlaneTarget {
  if (host === '::1') return { reason: 'TARGET_LOOPBACK6' };
  return /^(?:[23]\w{3}|f[cd]\w{2}):/.test(host) ? { family: 6, host, port } : { reason: 'TARGET_NAMED' };
}
