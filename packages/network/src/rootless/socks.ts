/** SOCKS5 (RFC 1928, CONNECT only), with user name and password (RFC 1929) where the proxy has one. */
import type { Socket } from 'node:net';
import { MoatError, errorCode } from '@moat/core';
import { joinSocket } from '../local-port.ts';
import { HANDSHAKE_TIMEOUT_MS, type ProxyRules } from './proxy-rules.ts';

/** First byte of everything a SOCKS5 program says, but its password. */
export const SOCKS_VERSION = 0x05;
const PASSWORD_VERSION = 0x01;
const NO_AUTHENTICATION = 0x00;
const BY_PASSWORD = 0x02;
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
 * Refusals travel as SOCKS replies: `DESTINATION_REFUSED` and missing grants as 2, unknown services as 4, unreachable
 * ones as 5; what is no SOCKS5 is closed (`PROXY_PROTOCOL`).
 * Memory: one greeting, one password and one request, 1,034 bytes, and what the program sent with it.
 */
export function serveSocks(rules: ProxyRules, socket: Socket): void {
  const talk = new SocksTalk(rules);
  let bytes: Buffer = Buffer.alloc(0);
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
      for (;;) {
        const step = talk.next(bytes);
        if (step === 'more') return;
        bytes = bytes.subarray(step.used);
        if (step.kind === 'refused') {
          finish();
          socket.end(step.say);
          return;
        }
        if (step.kind === 'request') {
          finish();
          // What a hasty program sent already belongs to the stream.
          if (bytes.length > 0) socket.unshift(bytes);
          answer(rules, socket, step.request);
          return;
        }
        socket.write(step.say);
      }
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

type Step =
  | { readonly kind: 'said' | 'refused'; readonly used: number; readonly say: Buffer }
  | { readonly kind: 'request'; readonly used: number; readonly request: SocksRequest };

/** The conversation before the connection: greeting, password where one is needed, request. */
class SocksTalk {
  readonly #rules: ProxyRules;
  #stage: 'greeting' | 'password' | 'request' = 'greeting';

  constructor(rules: ProxyRules) {
    this.#rules = rules;
  }

  /** What the bytes so far mean. @throws `PROXY_PROTOCOL` */
  next(bytes: Buffer): Step | 'more' {
    if (this.#stage === 'greeting') return this.#greeting(bytes);
    if (this.#stage === 'password') return this.#password(bytes);
    const request = parseRequest(bytes);
    return request === 'more' ? 'more' : { kind: 'request', used: request.used, request: request.value };
  }

  #greeting(bytes: Buffer): Step | 'more' {
    const { needsPassword } = this.#rules;
    const method = needsPassword ? BY_PASSWORD : NO_AUTHENTICATION;
    const greeting = parseGreeting(bytes);
    if (greeting === 'more') return 'more';
    const { used, value: methods } = greeting;
    if (!methods.includes(method)) return { kind: 'refused', used, say: Buffer.of(SOCKS_VERSION, NO_METHOD) };
    this.#stage = needsPassword ? 'password' : 'request';
    return { kind: 'said', used, say: Buffer.of(SOCKS_VERSION, method) };
  }

  #password(bytes: Buffer): Step | 'more' {
    const given = parsePassword(bytes);
    if (given === 'more') return 'more';
    const { used, value } = given;
    if (!this.#rules.isAllowed(value.user, value.password))
      return { kind: 'refused', used, say: Buffer.of(PASSWORD_VERSION, 1) };
    this.#stage = 'request';
    return { kind: 'said', used, say: Buffer.of(PASSWORD_VERSION, 0) };
  }
}

interface SocksRequest {
  readonly command: number;
  /** Undefined for an address type that does not exist. */
  readonly host: string | undefined;
  readonly port: number;
}

function answer(rules: ProxyRules, socket: Socket, { command, host, port }: SocksRequest): void {
  if (command !== CONNECT) return refuse(socket, REPLY.commandUnsupported);
  if (host === undefined) return refuse(socket, REPLY.addressUnsupported);
  const destination = rules.resolve(host, port);
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
  return Buffer.of(SOCKS_VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0);
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

/** The methods offered. @throws `PROXY_PROTOCOL` */
function parseGreeting(bytes: Buffer): Parsed<Buffer> {
  if (bytes.length > 0 && bytes[0] !== SOCKS_VERSION) throw notSocks();
  if (bytes.length < 2) return 'more';
  const used = 2 + (bytes[1] as number);
  return bytes.length < used ? 'more' : { used, value: bytes.subarray(2, used) };
}

/** RFC 1929 §2. @throws `PROXY_PROTOCOL` */
function parsePassword(bytes: Buffer): Parsed<{ readonly user: string; readonly password: string }> {
  if (bytes.length > 0 && bytes[0] !== PASSWORD_VERSION) throw notSocks();
  if (bytes.length < 2) return 'more';
  const userEnd = 2 + (bytes[1] as number);
  const length = bytes[userEnd];
  if (length === undefined || bytes.length < userEnd + 1 + length) return 'more';
  const used = userEnd + 1 + length;
  return {
    used,
    value: { user: bytes.toString('utf8', 2, userEnd), password: bytes.toString('utf8', userEnd + 1, used) },
  };
}

/** @throws `PROXY_PROTOCOL` */
function parseRequest(bytes: Buffer): Parsed<SocksRequest> {
  if (bytes.length > 0 && bytes[0] !== SOCKS_VERSION) throw notSocks();
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
