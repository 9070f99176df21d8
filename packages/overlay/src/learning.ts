/** What a connection teaches about where its peer can be dialed; used after hello, for our own peers only. */
import type { IdentifyResult } from '@libp2p/interface';
import type { OverlayConnection } from './connection.ts';

const MAX_ADDRESSES = 8;

/**
 * Addresses worth remembering, best first: the one that worked, those the peer says it listens on.
 * @param isInside true for a host inside a private network of ours, which is no way to a peer
 */
export function learnedAddresses(
  connection: OverlayConnection,
  identified: Pick<IdentifyResult, 'listenAddrs'>,
  isInside: (host: string) => boolean,
): string[] {
  const said = identified.listenAddrs
    .map((address) => address.toString())
    .filter((address) => isUseful(address, connection) && !isInside(address.split('/')[2] ?? ''));
  const { remote, direction } = connection;
  if (remote === null || isInside(remote.host)) return said.slice(0, MAX_ADDRESSES);
  const family = remote.host.includes(':') ? 'ip6' : 'ip4';
  // dialed: that very address; accepted: the host it came from, with the ports it listens on
  const ports = direction === 'outbound' ? [remote.port] : said.flatMap(portOf);
  const seen = ports.map((port) => `/${hostKind(remote.host, family)}/${remote.host}/tcp/${port}`);
  return [...new Set([...seen, ...said])].slice(0, MAX_ADDRESSES);
}

function hostKind(host: string, family: 'ip4' | 'ip6'): string {
  return /^[\d.]+$|:/.test(host) ? family : 'dns';
}

/** Relayed addresses come from the contract; a loopback address only helps on the same machine. */
function isUseful(address: string, connection: OverlayConnection): boolean {
  if (address.includes('/p2p-circuit') || !address.includes('/tcp/')) return false;
  return !isLoopback(address) || isLoopback(connection.raw.remoteAddr.toString());
}

/** True for a multiaddr that leads to whoever dials it. */
export function isLoopback(address: string): boolean {
  return address.startsWith('/ip4/127.') || address.startsWith('/ip6/::1/');
}

function portOf(address: string): number[] {
  const port = /\/tcp\/(\d+)/.exec(address)?.[1];
  return port === undefined ? [] : [Number(port)];
}
