/**
 * accept: the first phase of a request's way, which reads
 *   accept → limits → tls → parse → route → edge → exchange → respond → log
 * A connection over a client's bound is reset before anything is spent on it.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Logger, Service } from '@moat/core';
import { refusal } from '../errors.ts';
import type { ClientAddress } from './client-request.ts';
import type { ClientLimits } from './limits.ts';

export interface PublicListenerDeps {
  readonly logger: Logger;
  readonly limits: ClientLimits;
  /** Takes over a connection; the listener keeps its `error` handler and its count. */
  serve(socket: Socket, client: ClientAddress): void;
}

export interface PublicListenerOptions {
  readonly host: string;
  /** 0 = any. */
  readonly port: number;
  /** Descriptor of a socket that is bound to them already, shared with other processes of this gateway. */
  readonly fd?: number;
}

export class PublicListener implements Service {
  readonly #deps: PublicListenerDeps;
  readonly #options: PublicListenerOptions;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor(deps: PublicListenerDeps, options: PublicListenerOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** The port in use. */
  get port(): number {
    return (this.#server?.address() as AddressInfo | null)?.port ?? this.#options.port;
  }

  /** @throws `LISTEN_FAILED` */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    options.signal.throwIfAborted();
    const { host, port, fd } = this.#options;
    // Half-open, so that a WebSocket's ends close one after the other.
    const server = createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 },
      (socket) => this.#accept(socket),
    );
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        reject(refusal('LISTEN_FAILED', `cannot listen on ${host} port ${port}`, { cause, details: { host, port } }));
      });
      server.listen({ ...(fd === undefined ? { host, port } : { fd }), backlog: 1_024 }, resolve);
    });
    server.on('error', (err) => this.#deps.logger.error({ component: 'gateway.accept', err }, 'listener failed'));
    this.#server = server;
  }

  /** Takes no new connection; running ones go on. */
  close(): void {
    this.#server?.close();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #accept(socket: Socket): void {
    // Before anything else: an `error` without a handler would end the process.
    socket.on('error', () => socket.destroy());
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined || remotePort === undefined) return void socket.destroy();
    const client = { address: plainAddress(remoteAddress), port: remotePort };
    if (!this.#deps.limits.enter(client.address)) {
      const { connections: count } = this.#deps.limits;
      this.#deps.logger.debug({ component: 'gateway.accept', remoteAddress, count }, 'connection over a bound');
      socket.resetAndDestroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#deps.limits.leave(client.address);
    });
    this.#deps.serve(socket, client);
  }
}

function plainAddress(address: string): string {
  const bare = address.startsWith('::ffff:') ? address.slice(7) : address;
  const zone = bare.indexOf('%');
  return zone === -1 ? bare : bare.slice(0, zone);
}
