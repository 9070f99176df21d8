/** Where the agent's DNS listens: one address a machine, the same after every restart. */
import { createHash } from 'node:crypto';
import type { PeerId } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';

const DNS_PORT = 53;
/** Where the system refuses port 53. */
const SHIFTED_PORT = 20_053;

/** Best first. At last 127.0.0.1, for systems with one loopback address. */
export function dnsPlaces(self: PeerId): SocketAddress[] {
  const digest = createHash('sha256').update(`moat/dns/1\0${self}`).digest();
  const host = `127.${1 + (digest.readUInt8(0) % 254)}.${digest.readUInt8(1)}.53`;
  return [
    { host, port: DNS_PORT },
    { host, port: SHIFTED_PORT },
    { host: '127.0.0.1', port: SHIFTED_PORT },
  ];
}
