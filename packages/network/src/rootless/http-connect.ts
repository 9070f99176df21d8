/**
 * HTTP CONNECT (RFC 9110 §9.3.6) for programs that know no SOCKS. Any other method is refused: the proxy carries
 * connections, it does not fetch.
 */
import type { Socket } from 'node:net';
import { errorCode } from '@moat/core';
import { joinSocket } from '../local-port.ts';
import { HANDSHAKE_TIMEOUT_MS, type ProxyRules } from './proxy-rules.ts';

/** Longest head, in bytes; what programs send has some hundred. */
const MAX_HEAD_BYTES = 8_192;
const HEAD_END = '\r\n\r\n';

const STATUS = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  407: 'Proxy Authentication Required',
  431: 'Request Header Fields Too Large',
  502: 'Bad Gateway',
} as const;
type Status = keyof typeof STATUS;

interface ConnectRequest {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/** Reads one head, then joins or refuses with a status and the code as body. Memory: {@link MAX_HEAD_BYTES} and one chunk. */
export function serveHttpConnect(rules: ProxyRules, socket: Socket): void {
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
    const end = bytes.indexOf(HEAD_END);
    if (end < 0 && bytes.length <= MAX_HEAD_BYTES) return;
    finish();
    if (end < 0 || end > MAX_HEAD_BYTES) return refuse(socket, 431, 'PROXY_PROTOCOL');
    // What a hasty program sent already belongs to the stream.
    const rest = bytes.subarray(end + HEAD_END.length);
    if (rest.length > 0) socket.unshift(rest);
    answer(rules, socket, bytes.toString('latin1', 0, end));
  };
  socket.on('data', onData);
  socket.on('end', onEnd);
  socket.once('close', () => clearTimeout(timer));
  socket.resume();
}

function answer(rules: ProxyRules, socket: Socket, head: string): void {
  const request = parseConnect(head);
  if (typeof request === 'number') return refuse(socket, request, 'PROXY_PROTOCOL');
  if (rules.needsPassword && !rules.isAllowed(request.user, request.password)) {
    return refuse(socket, 407, 'PROXY_PASSWORD');
  }
  const destination = rules.resolve(request.host, request.port);
  if (destination === undefined) return refuse(socket, 403, 'DESTINATION_REFUSED');
  void joinSocket(
    socket,
    (signal) => destination.open(signal),
    (error) => {
      if (error === undefined) socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      else refuse(socket, statusOf(errorCode(error)), errorCode(error));
    },
  );
}

/** The request, or the status that refuses it. */
function parseConnect(head: string): ConnectRequest | 400 | 405 {
  const [line = '', ...fields] = head.split('\r\n');
  const match = /^([A-Z]{1,20}) (\S{1,512}) HTTP\/1\.[01]$/.exec(line);
  if (match === null) return 400;
  if (match[1] !== 'CONNECT') return 405;
  const target = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]/@]+)):(\d{1,5})$/.exec(match[2] ?? '');
  const host = (target?.[1] ?? target?.[2] ?? '').toLowerCase().replace(/\.$/, '');
  const port = Number(target?.[3]);
  if (target === null || host === '' || port < 1 || port > 65_535) return 400;
  const authorization = fields.flatMap((field) => /^proxy-authorization:\s*basic\s+(\S+)\s*$/i.exec(field)?.[1] ?? []);
  const [user = '', ...password] = Buffer.from(authorization[0] ?? '', 'base64')
    .toString('utf8')
    .split(':');
  return { host, port, user, password: password.join(':') };
}

function statusOf(code: string): Status {
  switch (code) {
    case 'GRANT_DENIED':
    case 'GRANT_EXPIRED':
    case 'MEMBER_EXPIRED':
    case 'NOT_EXPOSED':
      return 403;
    case 'SERVICE_UNKNOWN':
      return 404;
    default:
      return 502;
  }
}

function refuse(socket: Socket, status: Status, code: string): void {
  const extra =
    status === 407 ? 'Proxy-Authenticate: Basic realm="moat"\r\n' : status === 405 ? 'Allow: CONNECT\r\n' : '';
  const body = `${code}\n`;
  // A program that does not read the refusal is not waited for.
  socket.setTimeout(HANDSHAKE_TIMEOUT_MS, () => socket.destroy());
  socket.resume();
  socket.end(
    `HTTP/1.1 ${status} ${STATUS[status]}\r\n${extra}Content-Type: text/plain\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
  socket.once('finish', () => socket.destroySoon());
}
