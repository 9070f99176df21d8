/**
 * A local listening socket whose connections become streams: the one way in of listeners, forwards and
 * the proxy.
 */
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { MoatError, errorCode, type ErrorDetails, type LinkStream } from '@moat/core';
import { abortSocket } from './connector/connect.ts';
import { StreamPipe } from './connector/tcp.ts';
import type { BoundHandle } from './namespace/namespace-sockets.ts';

/** Connections one local port has at a time; more are closed at once. */
const MAX_CONNECTIONS = 1_024;
/** How long a program waits for its stream before its connection is reset, in milliseconds. */
const OPEN_TIMEOUT_MS = 30_000;

/** Owner of a server and of all its connections. */
export class LocalPort {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  /** `onSocket` gets each connection paused, and ends it itself. */
  constructor(onSocket: (socket: Socket) => void) {
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => this.#sockets.delete(socket));
      onSocket(socket);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Rejects with Node's own error (`EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`). @param options or a socket bound elsewhere */
  listen(options: ListenOptions | BoundHandle): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(options, () => {
        this.#server.off('error', reject);
        // An accept that fails (EMFILE) concerns one connection, not the server.
        this.#server.on('error', () => undefined);
        resolve();
      });
    });
  }

  /** The port it got; 0 for a Unix socket. */
  get port(): number {
    const address = this.#server.address();
    return address === null || typeof address === 'string' ? 0 : address.port;
  }

  /** Stops listening and ends every connection. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) abortSocket(socket);
    await closed;
  }
}

/** Why the system refused a local port, for people. */
export function listenFailed(message: string, cause: unknown, details: ErrorDetails = {}): MoatError<'LISTEN_FAILED'> {
  const code = errorCode(cause);
  return new MoatError('LISTEN_FAILED', message, {
    cause,
    details,
    reason: `${LISTEN_REASONS[code] ?? 'the operating system refuses it'} (${code})`,
  });
}

const LISTEN_REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'this user may not',
  ENOENT: 'there is no such directory',
};

/**
 * Opens a stream for a paused socket and joins the two; the socket is reset when there is none.
 * @param onAnswer called before any byte flows: with undefined once the stream stands, else with the error.
 *   When given, it also ends a refused socket.
 */
export async function joinSocket(
  socket: Socket,
  open: (signal: AbortSignal) => Promise<LinkStream>,
  onAnswer?: (error: unknown) => void,
): Promise<void> {
  const given = new AbortController();
  const onClose = (): void => given.abort(new Error('the program closed its connection'));
  socket.once('close', onClose);
  // Cleared below, where AbortSignal.timeout would keep each opening in memory until its time is over.
  const timer = setTimeout(() => {
    given.abort(new MoatError('SERVICE_UNREACHABLE', 'no instance answered in time', { retryable: true }));
  }, OPEN_TIMEOUT_MS);
  let stream: LinkStream;
  try {
    stream = await open(given.signal);
  } catch (error) {
    if (socket.destroyed) return;
    if (onAnswer) onAnswer(error);
    else abortSocket(socket);
    return;
  } finally {
    clearTimeout(timer);
    socket.off('close', onClose);
  }
  if (socket.destroyed) return stream.reset('CLIENT_RESET');
  onAnswer?.(undefined);
  const pipe = new StreamPipe(stream, socket, 'CLIENT_RESET', () => undefined);
  stream.listen(pipe.events);
  socket.resume();
}
