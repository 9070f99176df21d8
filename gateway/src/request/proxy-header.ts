/**
 * The header of the PROXY protocol, versions 1 and 2, by which a load balancer in front says whose connection it passes
 * on (haproxy's doc/proxy-protocol.txt, §2). Strict: one that is not exactly as written there ends the connection.
 */
import { isIP } from 'node:net';
import type { Endpoint } from '@moat/core';

/** What a header says. */
export interface ProxyHeader {
  /** Undefined where the load balancer speaks for itself. */
  readonly client: Endpoint | undefined;
  /** Bytes of the header. */
  readonly length: number;
}

/** Why a connection ends: its header is none. */
export class ProxyHeaderRefused extends Error {}

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V1 = Buffer.from('PROXY ', 'latin1');
/** CRLF included. */
const MAX_V1 = 107;
const FIXED_V2 = 16;
/** Addresses and everything a balancer may add, as the name of the handshake. */
const MAX_V2_BODY = 2_048;
const LOCAL = 0x20;
const PROXY = 0x21;
/** Bytes of both addresses and ports, by family and transport: TCP over IPv4 and IPv6. */
const ADDRESSES: ReadonlyMap<number, number> = new Map([
  [0x11, 4],
  [0x21, 16],
]);

/** Undefined while more bytes are needed. @throws ProxyHeaderRefused */
export function readProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  if (startsLike(bytes, SIGNATURE)) return bytes.length < FIXED_V2 ? undefined : readV2(bytes);
  if (startsLike(bytes, V1)) return readV1(bytes);
  throw new ProxyHeaderRefused('no PROXY header');
}

function startsLike(bytes: Buffer, beginning: Buffer): boolean {
  const length = Math.min(bytes.length, beginning.length);
  return bytes.compare(beginning, 0, length, 0, length) === 0;
}

function readV1(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, MAX_V1).indexOf('\r\n');
  if (end === -1) {
    if (bytes.length >= MAX_V1) throw new ProxyHeaderRefused('a line that is too long');
    return undefined;
  }
  const line = bytes.toString('latin1', 0, end);
  const length = end + 2;
  if (/^PROXY UNKNOWN(?: [\x21-\x7e ]*)?$/.test(line)) return { client: undefined, length };
  const [, family, from = '', to = '', fromPort = '', toPort = ''] =
    /^PROXY TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/.exec(line) ?? [];
  const isRight = [from, to].every((address) => String(isIP(address)) === family);
  if (!isRight || Number(fromPort) > 65_535 || Number(toPort) > 65_535) {
    throw new ProxyHeaderRefused('a line that is no PROXY header');
  }
  return { client: { host: plain(from), port: Number(fromPort) }, length };
}

function readV2(bytes: Buffer): ProxyHeader | undefined {
  const [command, family] = [bytes[12], bytes[13] ?? 0];
  const body = bytes.readUInt16BE(14);
  if (command !== LOCAL && command !== PROXY) throw new ProxyHeaderRefused('an unknown version or command');
  if (body > MAX_V2_BODY) throw new ProxyHeaderRefused('a header that is too long');
  const length = FIXED_V2 + body;
  const addressBytes = ADDRESSES.get(family);
  // Of a connection of its own a balancer may say anything; of another's only what we can carry on.
  if (command === PROXY && addressBytes === undefined) throw new ProxyHeaderRefused('not TCP over IP');
  const fixed = command === PROXY ? (addressBytes ?? 0) * 2 + 4 : 0;
  if (body < fixed) throw new ProxyHeaderRefused('addresses cut short');
  if (bytes.length < length) return undefined;
  if (command === LOCAL || addressBytes === undefined) return { client: undefined, length };
  checkExtras(bytes.subarray(FIXED_V2 + fixed, length));
  const host = textOf(bytes.subarray(FIXED_V2, FIXED_V2 + addressBytes));
  return { client: { host, port: bytes.readUInt16BE(FIXED_V2 + addressBytes * 2) }, length };
}

/** Type, length, value, until the end; none of them is used. */
function checkExtras(bytes: Buffer): void {
  let at = 0;
  while (at < bytes.length) {
    if (at + 3 > bytes.length) throw new ProxyHeaderRefused('a field cut short');
    at += 3 + bytes.readUInt16BE(at + 1);
  }
  if (at !== bytes.length) throw new ProxyHeaderRefused('a field cut short');
}

function textOf(address: Buffer): string {
  if (address.length === 4) return address.join('.');
  const groups = Array.from({ length: 8 }, (_, i) => address.readUInt16BE(i * 2).toString(16));
  return plain(groups.join(':'));
}

/** One spelling an address, IPv4-mapped addresses as IPv4: limits and logs know clients by it. */
function plain(address: string): string {
  if (isIP(address) === 4) return address;
  const compressed = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(compressed);
  if (!mapped) return compressed;
  const [high, low] = [Number.parseInt(mapped[1] ?? '', 16), Number.parseInt(mapped[2] ?? '', 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}
