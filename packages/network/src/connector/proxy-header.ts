/**
 * The header that tells a service whose connection it gets: PROXY protocol, version 2 (haproxy's
 * doc/proxy-protocol.txt, §2.2).
 */
import { isIP, isIPv4 } from 'node:net';
import type { Arrival, Endpoint } from '@moat/core';

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const LOCAL = 0x20;
const PROXY = 0x21;
const TCP4 = 0x11;
const TCP6 = 0x21;
/** The name of the handshake. */
const AUTHORITY = 0x02;

/** Without a client: a connection of this machine itself. */
export function proxyHeader({ client, server, servername }: Arrival = {}): Buffer {
  if (client === undefined) return Buffer.concat([SIGNATURE, Buffer.of(LOCAL, 0, 0, 0)]);
  const to = server ?? { host: isIPv4(client.host) ? '0.0.0.0' : '::', port: 0 };
  const isV4 = isIPv4(client.host) && isIPv4(to.host);
  const addresses = [client, to].map(({ host }) => bytesOf(host, isV4));
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(client.port, 0);
  ports.writeUInt16BE(to.port, 2);
  const name = Buffer.from(servername ?? '', 'latin1');
  const extra = name.length === 0 ? [] : [Buffer.of(AUTHORITY, name.length >> 8, name.length & 255), name];
  const body = Buffer.concat([...addresses, ports, ...extra]);
  const fixed = Buffer.of(PROXY, isV4 ? TCP4 : TCP6, body.length >> 8, body.length & 255);
  return Buffer.concat([SIGNATURE, fixed, body]);
}

/** Where one side has IPv6, the other is written as it is mapped into it. */
function bytesOf(host: string, isV4: boolean): Buffer {
  if (isIPv4(host)) {
    const four = Buffer.from(host.split('.').map(Number));
    return isV4 ? four : Buffer.concat([Buffer.alloc(10), Buffer.of(0xff, 0xff), four]);
  }
  // One spelling: eight groups, at most one gap, no dots.
  const text = new URL(`http://[${host}]/`).hostname.slice(1, -1);
  const [head = '', tail] = text.split('::');
  const groupsOf = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const before = groupsOf(head);
  const behind = groupsOf(tail ?? '');
  const gap = Array.from({ length: 8 - before.length - behind.length }, () => 0);
  return Buffer.from([...before, ...gap, ...behind].flatMap((group) => [group >> 8, group & 255]));
}

/** Whose request it is, as the gateway wrote it; the port is not told. */
export function clientOf(fields: readonly (readonly [name: string, value: string])[]): Endpoint | undefined {
  const host = fields.find(([name]) => name === 'x-real-ip')?.[1];
  return host === undefined || isIP(host) === 0 ? undefined : { host, port: 0 };
}
