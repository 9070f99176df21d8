/** Clients that made one request and stay: what each costs in memory while nothing happens. */
import { once } from 'node:events';
import type { TcpNetConnectOpts } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, createSecureContext, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { residentBytes } from './processes.ts';
import type { Values } from './scenario.ts';
import type { RunningSubject, Target } from './subject.ts';

export interface IdleLoad {
  readonly running: RunningSubject;
  readonly target: Target;
  readonly path: string;
  readonly clients: number;
  readonly signal: AbortSignal;
}

/** Handshakes at once. */
const AT_ONCE = 32;
/** Of one address of the loopback net: gateways bound what one client may have. */
const PER_ADDRESS = 1_500;
/** Milliseconds after the last request until memory is read: what is done with has gone back by then. */
const SETTLE_MS = 2_000;
/** Clients that come and go before memory is first read: what a busy process has anyway is no client's cost. */
const WARM_UP = 1_000;

/** Memory of each subject before its first client stayed, in bytes: what was freed since is used again. */
const before = new WeakMap<RunningSubject, number>();

/** `rssKiBPerClient`, `rssMiB`. Fails when a client is disconnected before all of them stand. */
export async function idleLoad(load: IdleLoad): Promise<Values> {
  const { running, clients, signal } = load;
  let base = before.get(running);
  if (base === undefined) {
    for (let gone = 0; gone < WARM_UP; gone += AT_ONCE) await drop(await stay(load, AT_ONCE));
    await delay(SETTLE_MS, undefined, { signal });
    base = residentBytes(running.pids());
    before.set(running, base);
  }
  const sockets = await stay(load, clients);
  try {
    await delay(SETTLE_MS, undefined, { signal });
    const gone = sockets.filter((socket) => socket.destroyed || socket.readableEnded).length;
    if (gone > 0) throw new Error(`${gone} of ${clients} clients were disconnected`);
    const bytes = residentBytes(running.pids());
    return { rssKiBPerClient: (bytes - base) / clients / 1_024, rssMiB: bytes / 2 ** 20 };
  } finally {
    await drop(sockets);
  }
}

/** So many clients after their one request. */
async function stay(load: IdleLoad, clients: number): Promise<TLSSocket[]> {
  const { address: host, port, hostname: servername, ca } = load.target;
  const secureContext = createSecureContext(ca === undefined ? {} : { ca });
  const sockets: TLSSocket[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < clients) {
      load.signal.throwIfAborted();
      const localAddress = `127.0.0.${2 + Math.floor(next++ / PER_ADDRESS)}`;
      const options: ConnectionOptions & TcpNetConnectOpts = { host, port, localAddress };
      const socket = connect({ ...options, servername, secureContext, ALPNProtocols: ['http/1.1'] });
      sockets.push(socket);
      await once(socket, 'secureConnect');
      await ask(socket, `GET ${load.path} HTTP/1.1\r\nHost: ${servername}:${port}\r\n\r\n`);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  } catch (error) {
    await drop(sockets);
    throw error;
  }
  return sockets;
}

/** Resolves when an answer with a Content-Length is whole. */
function ask(socket: TLSSocket, request: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const onData = (chunk: Buffer): void => {
      answer += chunk.toString('latin1');
      const end = answer.indexOf('\r\n\r\n');
      if (end === -1) return;
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(answer)?.[1] ?? Number.NaN);
      if (!answer.startsWith('HTTP/1.1 200 ') || !(answer.length <= end + 4 + length)) {
        return reject(new Error(`not the answer that was asked for: ${answer.slice(0, 80)}`));
      }
      if (answer.length < end + 4 + length) return;
      socket.off('data', onData);
      socket.resume();
      resolve();
    };
    socket.on('data', onData);
    socket.on('error', reject);
    socket.once('close', () => reject(new Error('a client was disconnected')));
    socket.write(request);
  });
}

async function drop(sockets: readonly TLSSocket[]): Promise<void> {
  await Promise.all(
    sockets.map(async (socket) => {
      if (socket.closed) return;
      socket.destroy();
      await once(socket, 'close');
    }),
  );
}
