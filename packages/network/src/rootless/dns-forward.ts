/** One question passed on to a name server, byte for byte, over the transport it came by. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { MoatError } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import { answersTo } from './dns-message.ts';

/** How long each server has, in milliseconds; resolvers ask again after five seconds. */
const ATTEMPT_MS = 2_000;
const MAX_SERVERS = 3;

/**
 * The first answer of the servers, asked one after another.
 * A server sees an id and a port of ours, not the program's; an answer counts only from the address asked, with that
 * id and that question (RFC 5452 §9).
 * @throws the last failure, `UPSTREAM_SILENT`, or the signal's reason
 */
export async function forwardDns(
  query: Buffer,
  servers: readonly SocketAddress[],
  overTcp: boolean,
  signal: AbortSignal,
): Promise<Buffer> {
  const asked = Buffer.from(query);
  asked.writeUInt16BE(randomInt(0x1_0000), 0);
  let failure: unknown = new MoatError('UPSTREAM_SILENT', 'there is no name server to ask');
  for (const server of servers.slice(0, MAX_SERVERS)) {
    try {
      const answer = await (overTcp ? askByTcp : askByUdp)(asked, server, signal);
      answer.writeUInt16BE(query.readUInt16BE(0), 0);
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
  }
  throw failure;
}

type Ask = (query: Buffer, server: SocketAddress, signal: AbortSignal) => Promise<Buffer>;

const askByUdp: Ask = (query, { host, port }, signal) =>
  within(signal, (resolve, reject) => {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    socket.on('error', reject);
    socket.on('message', (message) => {
      if (answersTo(query, message)) resolve(Buffer.from(message));
    });
    // Connected: the system drops what comes from anybody else, and tells of a port where nobody listens.
    socket.connect(port, host, () => socket.send(query));
    return () => socket.close();
  });

const askByTcp: Ask = (query, { host, port }, signal) =>
  within(signal, (resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const head = Buffer.alloc(2);
    head.writeUInt16BE(query.length);
    socket.write(Buffer.concat([head, query]));
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      // An answer has at most 65535 bytes, so this is all that is ever held.
      if (bytes.length < 2 || bytes.length < 2 + bytes.readUInt16BE(0)) return;
      const answer = Buffer.from(bytes.subarray(2, 2 + bytes.readUInt16BE(0)));
      if (answersTo(query, answer)) resolve(answer);
      else reject(silent());
    });
    socket.on('error', reject);
    socket.on('close', () => reject(silent()));
    return () => socket.destroy();
  });

/** Runs one attempt within its time; `close` frees what it opened, whatever the end. */
function within(
  signal: AbortSignal,
  start: (resolve: (answer: Buffer) => void, reject: (error: unknown) => void) => () => void,
): Promise<Buffer> {
  let close: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  return new Promise<Buffer>((resolve, reject) => {
    timer = setTimeout(() => reject(silent()), ATTEMPT_MS);
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    close = start(resolve, reject);
  }).finally(() => {
    clearTimeout(timer);
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
    close?.();
  });
}

function silent(): MoatError<'UPSTREAM_SILENT'> {
  return new MoatError('UPSTREAM_SILENT', 'the name server gave no answer', { retryable: true });
}
