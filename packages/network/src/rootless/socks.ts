/**
 * A SOCKS5 server (RFC 1928, CONNECT, no authentication) that knows no destinations but private services:
 * it never resolves a name by DNS and never dials an address, so it is no way out of the network.
 */
import type { Socket } from 'node:net';
import { MoatError, errorCode, type LinkStream } from '@moat/core';
import { LocalPort, joinSocket } from '../local-port.ts';

/** A destination the proxy may connect to. */
export interface SocksDestination {
  open(signal: AbortSignal): Promise<LinkStream>;
}

export interface SocksServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  stop(): Promise<void>;
}

export interface SocksDeps {
  /** `host` is a lower-case name without a final dot, or an IP address; undefined = refused. */
  resolve(host: string, port: number): SocksDestination | undefined;
}

/** From the connection to the whole request, in milliseconds. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

const VERSION = 0x05;
const NO_AUTHENTICATION = 0x00;
const NO_METHOD = 0xff;
const CONNECT = 0x01;

/** Reply codes of RFC 1928 §6. */
const REPLY = {
  succeeded: 0x00,
  failure: 0x01,
  notAllowed: 0x02,
  hostUnreachable: 0x04,
  refused: 0x05,
  commandUnsupported: 0x07,
  addressUnsupported: 0x08,
} as const;

/** What became of the bytes so far. `used` counts the bytes of a whole message. */
type Parsed<T> = { readonly used: number; readonly value: T } | 'more';

/**
 * Listens on 127.0.0.1. Refusals travel as SOCKS replies: `DESTINATION_REFUSED` and missing grants as 2,
 * unknown services as 4, unreachable ones as 5; what is no SOCKS5 is closed (`PROXY_PROTOCOL`).
 * @throws `LISTEN_FAILED`
 */
export async function createSocks(deps: SocksDeps, options: { readonly port: number }): Promise<SocksServer> {
  const host = '127.0.0.1';
  const local = new LocalPort((socket) => serve(deps, socket));
  try {
    await local.listen({ host, port: options.port });
  } catch (cause) {
    throw new MoatError('LISTEN_FAILED', `the proxy cannot listen at ${host}:${options.port}`, { cause });
  }
  const stop = (): Promise<void> => local.close();
  return { host, port: local.port, stop, [Symbol.asyncDispose]: stop };
}

/** Memory: one greeting and one request, 521 bytes, and what the program sent with it. */
function serve(deps: SocksDeps, socket: Socket): void {
  let bytes: Buffer = Buffer.alloc(0);
  let greeted = false;
  const timer = setTimeout(() => socket.destroy(), HANDSHAKE_TIMEOUT_MS);
  const finish = (): void => {
    clearTimeout(timer);
    socket.off('data', onData);
    socket.off('end', onEnd);
    socket.pause();
  };
  const onEnd = (): void => {
    finish();
    socket.destroy();
  };
  const onData = (chunk: Buffer): void => {
    bytes = Buffer.concat([bytes, chunk]);
    try {
      if (!greeted) {
        const greeting = parseGreeting(bytes);
        if (greeting === 'more') return;
        bytes = bytes.subarray(greeting.used);
        greeted = true;
        if (!greeting.value) {
          finish();
          socket.end(Buffer.of(VERSION, NO_METHOD));
          return;
        }
        socket.write(Buffer.of(VERSION, NO_AUTHENTICATION));
      }
      const request = parseRequest(bytes);
      if (request === 'more') return;
      finish();
      // What a hasty program sent already belongs to the stream.
      if (bytes.length > request.used) socket.unshift(bytes.subarray(request.used));
      answer(deps, socket, request.value);
    } catch {
      finish();
      socket.destroy();
    }
  };
  socket.on('data', onData);
  socket.on('end', onEnd);
  socket.once('close', () => clearTimeout(timer));
  socket.resume();
}

interface SocksRequest {
  readonly command: number;
  /** Undefined for an address type that does not exist. */
  readonly host: string | undefined;
  readonly port: number;
}

function answer(deps: SocksDeps, socket: Socket, { command, host, port }: SocksRequest): void {
  if (command !== CONNECT) return refuse(socket, REPLY.commandUnsupported);
  if (host === undefined) return refuse(socket, REPLY.addressUnsupported);
  const destination = deps.resolve(host, port);
  if (!destination) return refuse(socket, REPLY.notAllowed);
  void joinSocket(
    socket,
    (signal) => destination.open(signal),
    (error) => {
      if (error === undefined) socket.write(reply(REPLY.succeeded));
      else refuse(socket, replyTo(errorCode(error)));
    },
  );
}

function refuse(socket: Socket, code: number): void {
  // A program that does not read the refusal is not waited for.
  socket.setTimeout(HANDSHAKE_TIMEOUT_MS, () => socket.destroy());
  socket.resume();
  socket.end(reply(code));
  socket.once('finish', () => socket.destroySoon());
}

/** The bound address is always 0.0.0.0:0: where the stream really leads is nobody's business here. */
function reply(code: number): Buffer {
  return Buffer.of(VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0);
}

function replyTo(code: string): number {
  switch (code) {
    case 'DESTINATION_REFUSED':
    case 'GRANT_DENIED':
    case 'GRANT_EXPIRED':
    case 'MEMBER_EXPIRED':
    case 'NOT_EXPOSED':
      return REPLY.notAllowed;
    case 'SERVICE_UNKNOWN':
      return REPLY.hostUnreachable;
    case 'SERVICE_UNREACHABLE':
      return REPLY.refused;
    default:
      return REPLY.failure;
  }
}

/** @throws `PROXY_PROTOCOL`; the value says whether the program takes no authentication. */
function parseGreeting(bytes: Buffer): Parsed<boolean> {
  if (bytes.length > 0 && bytes[0] !== VERSION) throw notSocks();
  if (bytes.length < 2) return 'more';
  const used = 2 + (bytes[1] as number);
  if (bytes.length < used) return 'more';
  return { used, value: bytes.subarray(2, used).includes(NO_AUTHENTICATION) };
}

/** @throws `PROXY_PROTOCOL` */
function parseRequest(bytes: Buffer): Parsed<SocksRequest> {
  if (bytes.length > 0 && bytes[0] !== VERSION) throw notSocks();
  if (bytes.length < 5) return 'more';
  const command = bytes[1] as number;
  if (bytes[2] !== 0) throw notSocks();
  const type = bytes[3];
  const hostBytes = type === 1 ? 4 : type === 4 ? 16 : type === 3 ? 1 + (bytes[4] as number) : undefined;
  if (hostBytes === undefined) return { used: bytes.length, value: { command, host: undefined, port: 0 } };
  const used = 4 + hostBytes + 2;
  if (bytes.length < used) return 'more';
  const raw = bytes.subarray(type === 3 ? 5 : 4, 4 + hostBytes);
  return { used, value: { command, host: hostOf(type as number, raw), port: bytes.readUInt16BE(used - 2) } };
}

function hostOf(type: number, raw: Buffer): string {
  if (type === 1) return raw.join('.');
  if (type === 3) return raw.toString('latin1').toLowerCase().replace(/\.$/, '');
  const groups = Array.from({ length: 8 }, (_, index) => raw.readUInt16BE(index * 2).toString(16));
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
}

function notSocks(): MoatError<'PROXY_PROTOCOL'> {
  return new MoatError('PROXY_PROTOCOL', 'the program does not speak SOCKS5');
}
