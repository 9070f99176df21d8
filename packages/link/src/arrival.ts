/**
 * What an opener says of the connection that a `tcp` stream carries, behind the prefix of its `open` frame.
 *
 *   client u8+n host, u16 port | server u8+n host, u16 port | name u8+n
 *
 * A length of 0 says that there is none.
 */
import { isIP } from 'node:net';
import { isLabel, MoatError } from '@moat/core';
import type { Arrival, Endpoint } from '@moat/core';

const MAX_HOST = 45;
const MAX_NAME = 253;

/** @throws `HEAD_INVALID` */
export function encodeArrival({ client, server, servername = '' }: Arrival, prefix: Buffer): Buffer {
  if (!isEndpoint(client) || !isEndpoint(server) || !(servername === '' || isName(servername))) throw invalid();
  const hosts = (client?.host.length ?? 0) + (server?.host.length ?? 0);
  const bytes = Buffer.alloc(prefix.length + 7 + hosts + servername.length);
  let at = prefix.copy(bytes);
  const text = (value: string): void => {
    bytes[at++] = value.length;
    at += bytes.write(value, at, 'latin1');
  };
  for (const endpoint of [client, server]) {
    text(endpoint?.host ?? '');
    at = bytes.writeUInt16BE(endpoint?.port ?? 0, at);
  }
  text(servername);
  return bytes;
}

/** @throws `HEAD_INVALID` for anything {@link encodeArrival} would not write. */
export function decodeArrival(bytes: Buffer): Arrival {
  let at = 0;
  const text = (): string => {
    const from = at + 1;
    at = from + (bytes[at] ?? 0);
    if (at > bytes.length) throw invalid();
    return bytes.toString('latin1', from, at);
  };
  const endpoint = (): Endpoint | undefined => {
    const host = text();
    if (at + 2 > bytes.length) throw invalid();
    const port = bytes.readUInt16BE(at);
    at += 2;
    if (host === '' && port === 0) return undefined;
    return { host, port };
  };
  const client = endpoint();
  const server = endpoint();
  if (at === bytes.length) throw invalid();
  const servername = text();
  if (at !== bytes.length || !isEndpoint(client) || !isEndpoint(server)) throw invalid();
  if (servername !== '' && !isName(servername)) throw invalid();
  return {
    ...(client === undefined ? {} : { client }),
    ...(server === undefined ? {} : { server }),
    ...(servername === '' ? {} : { servername }),
  };
}

function isEndpoint(endpoint: Endpoint | undefined): boolean {
  if (endpoint === undefined) return true;
  const { host, port } = endpoint;
  return host.length <= MAX_HOST && isIP(host) !== 0 && !host.includes('%') && Number.isInteger(port) && port < 65_536;
}

function isName(name: string): boolean {
  return name.length <= MAX_NAME && name.split('.').every(isLabel);
}

function invalid(): MoatError<'HEAD_INVALID'> {
  return new MoatError('HEAD_INVALID', 'what an open says of its connection is malformed');
}
