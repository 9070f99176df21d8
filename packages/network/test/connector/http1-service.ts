/** A connector with a stream before it and a service of node:http, or a rude one, behind it. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { silentLogger, systemClock, type RequestHead } from '@moat/core';
import { serveHttp, type HttpOptions } from '../../src/connector/http1.ts';
import { ServicePool, type ServicePoolOptions } from '../../src/connector/service-pool.ts';
import { createStreamPair } from '../../src/stream-pair.ts';
import { Peer, rawServer, requestHead } from '../peer.ts';

export interface Target {
  readonly host: string;
  readonly port: number;
}

export class Connector implements Disposable {
  readonly pool: ServicePool;
  readonly #target: Target;

  constructor(target: Target, options: ServicePoolOptions = {}) {
    this.#target = target;
    this.pool = new ServicePool({ clock: systemClock, isOwnSocket: () => false }, options);
  }

  /** Opens an http stream to the target; the exchange has ended when `closed` resolves. */
  open(
    head: Partial<RequestHead> = {},
    options: HttpOptions & { windowBytes?: number } = {},
  ): Peer & { done: Promise<void> } {
    const { opened, accepted } = createStreamPair({
      request: { deployment: 'd', service: 'web', kind: 'http' },
      requestHead: requestHead(head),
      opener: 'gateway',
      acceptor: 'member',
      ...(options.windowBytes === undefined ? {} : { windowBytes: options.windowBytes }),
    });
    const { promise: done, resolve } = Promise.withResolvers<void>();
    serveHttp({ pool: this.pool, clock: systemClock, logger: silentLogger }, accepted, this.#target, resolve, options);
    return Object.assign(new Peer(opened), { done });
  }

  /** A whole exchange. */
  async ask(head: Partial<RequestHead> = {}, body?: string): Promise<Peer> {
    const peer = this.open(body === undefined ? head : { bodyless: false, ...head });
    if (body !== undefined) peer.stream.write(Buffer.from(body));
    peer.stream.end();
    await peer.end();
    await peer.close();
    await peer.done;
    return peer;
  }

  [Symbol.dispose](): void {
    this.pool.close();
  }
}

export async function httpServer(listener: RequestListener): Promise<Target & AsyncDisposable & { server: Server }> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

export async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** A service that answers each connection's first bytes with `answer`, then ends it. */
export function rude(answer: string, { keep = false }: { keep?: boolean } = {}): ReturnType<typeof rawServer> {
  return rawServer((socket) => {
    socket.once('data', () => (keep ? socket.write(answer, 'latin1') : socket.end(answer, 'latin1')));
    socket.on('end', () => socket.end());
  });
}
