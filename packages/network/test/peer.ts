/** The opener's side of a stream, as a program would see it; for tests. */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { AcceptHead, FieldList, LinkStream, RequestHead, ResponseHead } from '@moat/core';

/** Collects what an opened stream reports; waiting is by events, never by time. */
export class Peer {
  readonly stream: LinkStream;
  readonly heads: AcceptHead[] = [];
  readonly chunks: Buffer[] = [];
  bytes = 0;
  drains = 0;
  trailers: FieldList | undefined;
  closed: { readonly code: string | undefined } | undefined;
  #waiting: (() => void)[] = [];

  constructor(stream: LinkStream) {
    this.stream = stream;
    stream.listen({
      onHead: (head) => this.#note(() => this.heads.push(head)),
      onData: (chunk) =>
        this.#note(() => {
          this.bytes += chunk.length;
          this.chunks.push(Buffer.from(chunk));
        }),
      onEnd: (trailers) => this.#note(() => (this.trailers = trailers)),
      onDrain: () => this.#note(() => (this.drains += 1)),
      onClose: (code) => this.#note(() => (this.closed = { code })),
    });
  }

  get body(): string {
    return Buffer.concat(this.chunks).toString('latin1');
  }

  get answer(): ResponseHead | undefined {
    return this.heads.find(
      (head): head is ResponseHead => 'status' in head && (head.status === 101 || head.status >= 200),
    );
  }

  /** Waits until `condition` holds; it is asked after every event. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async end(): Promise<this> {
    await this.until(() => this.trailers !== undefined || this.closed !== undefined);
    return this;
  }

  async close(): Promise<string | undefined> {
    await this.until(() => this.closed !== undefined);
    return this.closed?.code;
  }

  #note(change: () => void): void {
    change();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

export function requestHead(head: Partial<RequestHead> = {}): RequestHead {
  return { method: 'GET', authority: 'shop.example', target: '/', fields: [], bodyless: true, ...head };
}

/** A TCP server on a free loopback port with its connections; disposing ends all. */
export interface RawServer extends AsyncDisposable {
  readonly server: Server;
  readonly host: string;
  readonly port: number;
  readonly sockets: ReadonlySet<Socket>;
  readonly connections: number;
}

export async function rawServer(onSocket: (socket: Socket) => void): Promise<RawServer> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    server,
    host: '127.0.0.1',
    port,
    sockets,
    get connections() {
      return connections;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
