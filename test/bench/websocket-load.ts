/** WebSocket echo: each connection sends a message, waits for it to come back, and sends the next (RFC 6455). */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { cpuSeconds } from './processes.ts';
import type { MeasureOptions, Values } from './scenario.ts';
import { quantileOfSorted } from './statistics.ts';
import type { Target } from './subject.ts';

export interface WebSocketLoad {
  readonly target: Target;
  readonly path: string;
  /** 126 to 65,535. */
  readonly messageBytes: number;
  readonly connections: number;
  /** Processes whose CPU time counts. */
  readonly pids: readonly number[];
}

/** Bytes in front of a message of this size that a server sends. */
const HEADER_BYTES = 4;
/** Milliseconds a connection may take to open. */
const OPEN_MS = 10_000;

/** `messagesPerSecond`, `cpuUsPerMessage`, `messagesPerCore`, `p50Ms`, `p99Ms`. A message counts once for its way there and back. */
export async function webSocketLoad(load: WebSocketLoad, options: MeasureOptions): Promise<Values> {
  const { messageBytes, pids } = load;
  const { signal } = options;
  const sockets = await openAll(load);
  const frame = frameOf(randomBytes(messageBytes));
  const answerBytes = HEADER_BYTES + messageBytes;
  let durations: number[] = [];
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  try {
    for (const socket of sockets) {
      let left = answerBytes;
      let sentAt = performance.now();
      socket.on('data', (chunk: Buffer) => {
        left -= chunk.length;
        if (left < 0) return failed.reject(new Error('more came back than was sent'));
        if (left > 0) return;
        const now = performance.now();
        durations.push(now - sentAt);
        [left, sentAt] = [answerBytes, now];
        socket.write(frame);
      });
      socket.once('close', () => failed.reject(new Error('a WebSocket was closed')));
      socket.write(frame);
    }
    await Promise.race([delay(options.warmUpSeconds * 1_000, undefined, { signal }), failed.promise]);
    durations = [];
    const [cpu, at] = [cpuSeconds(pids), performance.now()];
    await Promise.race([delay(options.seconds * 1_000, undefined, { signal }), failed.promise]);
    const seconds = (performance.now() - at) / 1_000;
    const measured = Float64Array.from(durations).sort();
    const cpuUsPerMessage = ((cpuSeconds(pids) - cpu) / measured.length) * 1e6;
    if (measured.length === 0) throw new Error('no message came back');
    return {
      messagesPerSecond: measured.length / seconds,
      cpuUsPerMessage,
      messagesPerCore: 1e6 / cpuUsPerMessage,
      p50Ms: quantileOfSorted(measured, 0.5),
      p99Ms: quantileOfSorted(measured, 0.99),
    };
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

async function openAll(load: WebSocketLoad): Promise<TLSSocket[]> {
  const opened = await Promise.allSettled(Array.from({ length: load.connections }, () => open(load)));
  const sockets = opened.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const failed = opened.find((each) => each.status === 'rejected');
  if (failed === undefined) return sockets;
  for (const socket of sockets) socket.destroy();
  throw failed.reason;
}

/** A connection after its 101. */
function open({ target, path }: WebSocketLoad): Promise<TLSSocket> {
  const { address: host, port, hostname, ca } = target;
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => fail(new Error('no answer to the handshake of a WebSocket')), OPEN_MS);
    const socket = connect({ host, port, servername: hostname, ...(ca === undefined ? {} : { ca }) });
    let head = '';
    const fail = (error: Error): void => {
      clearTimeout(deadline);
      socket.destroy();
      reject(error);
    };
    const onHead = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      socket.off('data', onHead);
      socket.off('error', fail);
      socket.on('error', () => socket.destroy());
      clearTimeout(deadline);
      if (head.startsWith('HTTP/1.1 101 ')) resolve(socket);
      else fail(new Error(`no WebSocket: ${head.split('\r\n')[0] ?? ''}`));
    };
    socket.once('error', fail);
    socket.on('data', onHead);
    socket.once('secureConnect', () =>
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
      ),
    );
  });
}

/** One binary message as a client sends it: masked. */
function frameOf(message: Buffer): Buffer {
  const mask = randomBytes(4);
  const header = Buffer.from([0x82, 0x80 | 126, message.length >> 8, message.length & 0xff]);
  return Buffer.concat([header, mask, message.map((byte, i) => byte ^ (mask[i & 3] ?? 0))]);
}
