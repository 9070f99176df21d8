/**
 * Sockets that stand in another network namespace of this machine and are served here. A process cannot change its
 * namespace for one socket, so a small child that lives there opens them and hands them over; from then on the kernel
 * carries every byte straight to the agent.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Socket as UdpSocket } from 'node:dgram';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MoatError, type Logger } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';

/** Milliseconds for one socket, the start of the child included. */
const OPEN_MS = 10_000;
/** Wishes that wait at a time; more are refused. */
const MAX_PENDING = 512;
/** Sockets that wait to be connected, for each family: as many connections may begin in one turn. */
const READY = { 4: 64, 6: 4 } as const;

/** A bound socket, as `server.listen` and `new Socket` take it. */
export type BoundHandle = object & { close(): void };

export interface NamespaceSockets extends AsyncDisposable {
  /** Path of the namespace, as the agent sees it. */
  readonly path: string;
  /** Path by which any process of the machine may enter it, whatever it has mounted; the same one where none is known. */
  readonly entry: string;
  /** A TCP socket bound to an address inside, to listen on. @throws Node's own error (`EADDRINUSE`, `EACCES`, …) or `NETNS_FAILED` */
  bindTcp(address: SocketAddress): Promise<BoundHandle>;
  /** A UDP socket bound to an address inside. @throws as {@link NamespaceSockets.bindTcp} */
  bindUdp(address: SocketAddress): Promise<UdpSocket>;
  /** A TCP socket that connects from inside; undefined when as many as are kept ready were taken in one turn. */
  takeUnconnected(family: 4 | 6): BoundHandle | undefined;
  stop(): Promise<void>;
}

interface Pending {
  readonly resolve: (handle: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Resolves when connections from inside can begin. @throws `NETNS_FAILED` */
export async function openNamespaceSockets(
  { logger }: { readonly logger: Logger },
  { path }: { readonly path: string },
): Promise<NamespaceSockets> {
  const sockets = new ChildSockets(logger, path);
  try {
    await sockets.fill(4);
  } catch (error) {
    await sockets.stop();
    throw error;
  }
  // A namespace may have no IPv6 at all.
  void sockets.fill(6).catch(() => undefined);
  return sockets;
}

class ChildSockets implements NamespaceSockets {
  readonly path: string;
  readonly #logger: Logger;
  readonly #ready: Record<4 | 6, BoundHandle[]> = { 4: [], 6: [] };
  readonly #filling: Record<4 | 6, boolean> = { 4: false, 6: false };
  readonly #pending = new Map<number, Pending>();
  #child: ChildProcess | undefined;
  #wishes = 0;
  #stopped = false;

  constructor(logger: Logger, path: string) {
    this.#logger = logger;
    this.path = path;
  }

  get entry(): string {
    const pid = this.#child?.pid;
    return pid === undefined ? this.path : `/proc/${pid}/ns/net`;
  }

  bindTcp(address: SocketAddress): Promise<BoundHandle> {
    return this.#open('tcp', address) as Promise<BoundHandle>;
  }

  bindUdp(address: SocketAddress): Promise<UdpSocket> {
    return this.#open('udp', address) as Promise<UdpSocket>;
  }

  takeUnconnected(family: 4 | 6): BoundHandle | undefined {
    const handle = this.#ready[family].pop();
    if (this.#ready[family].length < READY[family] / 2) {
      this.fill(family).catch((error: unknown) => this.#logger.debug({ err: error }, 'no sockets in the namespace'));
    }
    return handle;
  }

  /** Keeps as many ready as are wanted of a family. */
  async fill(family: 4 | 6): Promise<void> {
    if (this.#filling[family] || this.#stopped) return;
    this.#filling[family] = true;
    try {
      const wanted = READY[family] - this.#ready[family].length;
      const host = family === 4 ? '0.0.0.0' : '::';
      const opened = Array.from({ length: wanted }, () => this.bindTcp({ host, port: 0 }));
      for (const result of await Promise.allSettled(opened)) {
        if (result.status === 'rejected') throw result.reason;
        if (this.#stopped) result.value.close();
        else this.#ready[family].push(result.value);
      }
    } finally {
      this.#filling[family] = false;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const handle of [...this.#ready[4].splice(0), ...this.#ready[6].splice(0)]) handle.close();
    const child = this.#child;
    if (child === undefined) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    if (child.connected) child.disconnect();
    else child.kill();
    await gone;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #open(kind: 'tcp' | 'udp', { host, port }: SocketAddress): Promise<unknown> {
    if (this.#stopped || this.#pending.size >= MAX_PENDING)
      throw failed(this.path, 'too many sockets are being opened');
    this.#child ??= this.#start();
    const child = this.#child;
    const id = this.#wishes++;
    const opened = Promise.withResolvers<unknown>();
    this.#pending.set(id, opened);
    const timer = setTimeout(() => opened.reject(failed(this.path, 'no answer from inside')), OPEN_MS);
    try {
      // A child that is ending says why itself, a moment later than its pipe breaks.
      child.send({ id, kind, host, port }, ignored);
      return await opened.promise;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }

  #start(): ChildProcess {
    const module = fileURLToPath(new URL(`./main${extname(import.meta.url)}`, import.meta.url));
    const args = [`--net=${this.path}`, process.execPath, '--disable-warning=ExperimentalWarning', module];
    const child = spawn('nsenter', args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: {} });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-500)));
    child.on('message', (answer: { readonly id: number; readonly error?: string }, handle) => {
      const pending = this.#pending.get(answer.id);
      if (answer.error !== undefined) pending?.reject(Object.assign(new Error(answer.error), { code: answer.error }));
      else if (pending !== undefined && !this.#stopped) pending.resolve(handle);
      else (handle as unknown as BoundHandle | undefined)?.close();
    });
    const over = (error: Error): void => {
      if (this.#child === child) this.#child = undefined;
      for (const { reject } of this.#pending.values()) reject(failed(this.path, said.trim() || error.message, error));
    };
    child.on('error', over);
    child.once('exit', (code) => over(new Error(`the helper inside ended with ${code ?? 'a signal'}`)));
    return child;
  }
}

function ignored(): void {}

function failed(path: string, reason: string, cause?: unknown): MoatError<'NETNS_FAILED'> {
  return new MoatError('NETNS_FAILED', `no socket could be opened in the network namespace ${path}`, {
    cause,
    reason,
    next: ['run the agent as root', 'moat wireguard up --netns NAME   with a namespace that exists'],
    retryable: true,
  });
}
