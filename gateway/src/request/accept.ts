/**
 * accept: the first phase of a request's way, which reads
 *   accept → limits → hello → tls → parse → route → edge → exchange → respond → log
 * A connection over a client's bound is reset before anything is spent on it.
 */
import { BlockList, createServer, isIP, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Logger, Service } from '@moat/core';
import { refusal } from '../errors.ts';
import type { ClientAddress } from './client-request.ts';
import type { ClientLimits } from './limits.ts';
import { ProxyHeaderRefused, readProxyHeader, type ProxyHeader } from './proxy-header.ts';

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
  /** Other processes listen on the same port, each on a socket of its own. @defaultValue false */
  readonly reusePort?: boolean;
  /** Ranges of load balancers, who alone may connect, and say first for whom. @defaultValue anybody, for themselves */
  readonly proxyFrom?: readonly string[] | undefined;
}

/** Milliseconds for the header of a load balancer, and connections that wait for theirs. */
const PROXY_HEADER_MS = 5_000;
const MAX_WAITING = 1_024;

export class PublicListener implements Service {
  readonly #deps: PublicListenerDeps;
  readonly #options: PublicListenerOptions;
  readonly #sockets = new Set<Socket>();
  readonly #balancers: BlockList | undefined;
  #waiting = 0;
  #server: Server | undefined;

  constructor(deps: PublicListenerDeps, options: PublicListenerOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#balancers = options.proxyFrom && listOf(options.proxyFrom);
  }

  /** The port in use. */
  get port(): number {
    return (this.#server?.address() as AddressInfo | null)?.port ?? this.#options.port;
  }

  /** @throws `LISTEN_FAILED` */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    options.signal.throwIfAborted();
    const { host, port, fd, reusePort = false } = this.#options;
    // Half-open, so that a WebSocket's ends close one after the other.
    const server = createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 },
      (socket) => this.#accept(socket),
    );
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        reject(refusal('LISTEN_FAILED', `cannot listen on ${host} port ${port}`, { cause, details: { host, port } }));
      });
      server.listen({ ...(fd === undefined ? { host, port, reusePort } : { fd }), backlog: 1_024 }, resolve);
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
    const peer = { address: plainAddress(remoteAddress), port: remotePort };
    if (this.#balancers === undefined) this.#enter(socket, peer);
    else this.#introduce(socket, peer, this.#balancers);
  }

  /** Who connects says for whom, or is ended; its own address counts for nothing. */
  #introduce(socket: Socket, peer: ClientAddress, balancers: BlockList): void {
    const { logger } = this.#deps;
    const isTrusted = balancers.check(peer.address, isIP(peer.address) === 6 ? 'ipv6' : 'ipv4');
    if (!isTrusted || this.#waiting >= MAX_WAITING) {
      logger.debug({ component: 'gateway.accept', remoteAddress: peer.address }, 'not a load balancer of ours');
      socket.resetAndDestroy();
      return;
    }
    this.#waiting += 1;
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    const timer = setTimeout(() => socket.destroy(), PROXY_HEADER_MS);
    let bytes: Buffer = Buffer.alloc(0);
    const finish = (): void => {
      clearTimeout(timer);
      socket.off('readable', read);
      socket.off('close', finish);
      this.#waiting -= 1;
    };
    const read = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return void socket.destroy();
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      let header: ProxyHeader | undefined;
      try {
        header = readProxyHeader(bytes);
      } catch (error) {
        if (!(error instanceof ProxyHeaderRefused)) throw error;
        const reason = error.message;
        logger.warn(
          { component: 'gateway.accept', remoteAddress: peer.address, reason },
          'a load balancer sent no header',
        );
        socket.resetAndDestroy();
        return;
      }
      if (header === undefined) return;
      finish();
      const { client, length } = header;
      if (length < bytes.length) socket.unshift(bytes.subarray(length));
      this.#enter(socket, client === undefined ? peer : { address: client.host, port: client.port });
    };
    socket.on('readable', read);
    socket.once('close', finish);
  }

  #enter(socket: Socket, client: ClientAddress): void {
    if (!this.#deps.limits.enter(client.address)) {
      const { connections: count } = this.#deps.limits;
      this.#deps.logger.debug(
        { component: 'gateway.accept', remoteAddress: client.address, count },
        'connection over a bound',
      );
      socket.resetAndDestroy();
      return;
    }
    this.#sockets.add(socket);
    // Not `once`, here and in the phases behind: what Node wraps around such a listener is kept as long as the client.
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#deps.limits.leave(client.address);
    });
    this.#deps.serve(socket, client);
  }
}

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    list.addSubnet(address, prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix), family);
  }
  return list;
}

function plainAddress(address: string): string {
  const bare = address.startsWith('::ffff:') ? address.slice(7) : address;
  const zone = bare.indexOf('%');
  return zone === -1 ? bare : bare.slice(0, zone);
}
