/**
 * The gateway's name servers: UDP and TCP at each address they are given.
 *
 * Bounds: of one address prefix (IPv4 /24, IPv6 /56) {@link PREFIX_PER_SECOND} answers a second over UDP, of the rest
 * every second question is told to come over TCP and the others are dropped, so that nobody is flooded through us by
 * forged senders and nobody is shut out; {@link ALL_PER_SECOND} messages in all, the rest is dropped. Over TCP
 * {@link MAX_TCP} connections, {@link MAX_TCP_PER_PREFIX} of a prefix, more are closed at once; one that is silent for
 * {@link TCP_IDLE_MS} ends. Its questions are answered one after another, and read no faster than the answers are taken.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6, type AddressInfo, type Server, type Socket } from 'node:net';
import { RateLimit, errorCode, type Clock, type Logger, type Service } from '@moat/core';
import type { HostPort } from '../config.ts';
import { refusal } from '../errors.ts';
import { prefixOf } from './prefix.ts';
import { respond } from './responder.ts';
import type { ZoneView } from './zone.ts';

const PREFIX_PER_SECOND = 100;
const ALL_PER_SECOND = 10_000;
const MAX_TCP = 256;
const MAX_TCP_PER_PREFIX = 16;
const TCP_IDLE_MS = 5_000;
/** Longest question over TCP; a real one has a few hundred bytes. */
const MAX_QUESTION_BYTES = 4_096;

export interface DnsServerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly zone: ZoneView;
}

export class DnsServer implements Service {
  readonly #deps: DnsServerDeps;
  readonly #places: readonly HostPort[];
  readonly #perPrefix: RateLimit;
  readonly #inAll: RateLimit;
  readonly #tcpOf = new Map<string, number>();
  readonly #connections = new Set<Socket>();
  #opened: AsyncDisposableStack | undefined;
  #slip = false;
  #ports: readonly number[] = [];

  constructor(deps: DnsServerDeps, places: readonly HostPort[]) {
    this.#deps = deps;
    this.#places = places;
    const { clock } = deps;
    this.#perPrefix = new RateLimit(clock, { count: PREFIX_PER_SECOND, perMs: 1_000, maxKeys: 20_000 });
    this.#inAll = new RateLimit(clock, { count: ALL_PER_SECOND, perMs: 1_000, maxKeys: 1 });
  }

  /** Ports in use, in the order of the places. */
  get ports(): readonly number[] {
    return this.#ports;
  }

  /** @throws `LISTEN_FAILED` */
  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    await using opening = new AsyncDisposableStack();
    const ports: number[] = [];
    for (const place of this.#places) {
      const tcp = await this.#openTcp(place);
      opening.defer(() => this.#closeTcp(tcp));
      const { port } = tcp.address() as AddressInfo;
      const udp = await this.#openUdp({ host: place.host, port });
      opening.defer(() => new Promise<void>((resolve) => udp.close(() => resolve())));
      ports.push(port);
    }
    this.#ports = ports;
    this.#opened = opening.move();
  }

  async stop(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    for (const socket of this.#connections) socket.destroy();
    await opened?.disposeAsync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #openUdp({ host, port }: HostPort): Promise<UdpSocket> {
    const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4' });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (cause) => {
        socket.close();
        reject(failed({ host, port }, cause));
      });
      socket.bind({ address: host, port, exclusive: true }, resolve);
    });
    socket.removeAllListeners('error');
    // What fails concerns one answer.
    socket.on('error', (err) => this.#deps.logger.debug({ component: 'gateway.dns', err }, 'DNS socket error'));
    socket.on('message', (message, from) => this.#onDatagram(socket, message, from));
    return socket;
  }

  #onDatagram(socket: UdpSocket, message: Buffer, from: RemoteInfo): void {
    // Port 0 is nobody's.
    if (from.port === 0 || this.#inAll.take('') > 0) return;
    let forceTc = false;
    if (this.#perPrefix.take(prefixOf(from.address)) > 0) {
      this.#slip = !this.#slip;
      if (!this.#slip) return;
      forceTc = true;
    }
    const answer = this.#respond(message, 'udp', forceTc);
    if (answer !== undefined) socket.send(answer, from.port, from.address, () => undefined);
  }

  async #openTcp({ host, port }: HostPort): Promise<Server> {
    const server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    server.maxConnections = MAX_TCP;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => reject(failed({ host, port }, cause)));
      server.listen({ host, port }, resolve);
    });
    server.removeAllListeners('error');
    server.on('error', (err) => this.#deps.logger.debug({ component: 'gateway.dns', err }, 'DNS socket error'));
    return server;
  }

  #closeTcp(server: Server): Promise<void> {
    return new Promise((resolve) => server.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    const prefix = prefixOf(socket.remoteAddress ?? '');
    const count = this.#tcpOf.get(prefix) ?? 0;
    if (count >= MAX_TCP_PER_PREFIX) return void socket.destroy();
    this.#tcpOf.set(prefix, count + 1);
    this.#connections.add(socket);
    socket.once('close', () => {
      this.#connections.delete(socket);
      const left = (this.#tcpOf.get(prefix) ?? 1) - 1;
      if (left > 0) this.#tcpOf.set(prefix, left);
      else this.#tcpOf.delete(prefix);
    });
    // Also while an answer waits to be taken.
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    void this.#converse(socket);
  }

  /** Questions may come at once; each is answered in its turn (RFC 7766 §6.2.1.1). */
  async #converse(socket: Socket): Promise<void> {
    let bytes: Buffer = Buffer.alloc(0);
    try {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
        while (bytes.length >= 2) {
          const length = bytes.readUInt16BE(0);
          if (length > MAX_QUESTION_BYTES) return;
          if (bytes.length < 2 + length) break;
          if (this.#inAll.take('') > 0) return;
          const answer = this.#respond(bytes.subarray(2, 2 + length), 'tcp', false);
          if (answer === undefined) return;
          bytes = bytes.subarray(2 + length);
          const head = Buffer.alloc(2);
          head.writeUInt16BE(answer.length);
          // Length and message in one segment (RFC 7766 §8).
          if (!socket.write(Buffer.concat([head, answer]))) await once(socket, 'drain');
        }
      }
    } catch {
      // The resolver is gone; there is nobody to tell.
    } finally {
      socket.destroySoon();
    }
  }

  #respond(message: Buffer, transport: 'udp' | 'tcp', forceTc: boolean): Buffer | undefined {
    try {
      return respond(this.#deps.zone, message, transport, forceTc);
    } catch (err) {
      this.#deps.logger.error({ component: 'gateway.dns', err, code: errorCode(err) }, 'DNS question not answered');
      return undefined;
    }
  }
}

function failed({ host, port }: HostPort, cause: unknown): ReturnType<typeof refusal> {
  const message = `the DNS cannot listen on ${host} port ${port}`;
  return refusal('LISTEN_FAILED', message, { cause, details: { host, port } });
}
