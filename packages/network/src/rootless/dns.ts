/**
 * The agent's DNS: UDP and TCP on one loopback address. It answers for `.internal` itself; every other name goes to
 * the servers it is given, or is refused.
 *
 * Bounds: {@link QUERIES_PER_SECOND} in all, more are dropped (UDP) or end their connection; {@link MAX_PENDING}
 * forwarded at a time, more get SERVFAIL; {@link MAX_TCP} connections, more are closed at once.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { errorCode, type Logger } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import { listenFailed } from '../local-port.ts';
import type { NamespaceSockets } from '../namespace/namespace-sockets.ts';
import { forwardDns } from './dns-forward.ts';
import { readDnsMessage, truncated } from './dns-message.ts';
import type { NamedService } from './names.ts';

const QUERIES_PER_SECOND = 5_000;
const MAX_PENDING = 128;
const MAX_TCP = 64;
/** A TCP connection without a whole question for so long is closed, in milliseconds. */
const TCP_IDLE_MS = 5_000;
/** Longest question over TCP; a real one has a few hundred bytes. */
const MAX_QUESTION_BYTES = 4_096;

export interface DnsServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  stop(): Promise<void>;
}

export interface DnsDeps {
  /** Services with an address for programs here, of every network; asked for each question. @param asked the name in it */
  services(asked: string): Iterable<NamedService>;
  /** Where other names go, first choice first; none = they are refused. Asked for each such question. */
  upstreams(): Promise<readonly SocketAddress[]>;
  readonly logger: Logger;
  /** Where it listens. @defaultValue where the agent runs */
  readonly inside?: NamespaceSockets | undefined;
}

/**
 * Listens at the first place that can be had.
 * @throws `LISTEN_FAILED`
 */
export async function createDns(deps: DnsDeps, places: readonly SocketAddress[]): Promise<DnsServer> {
  let cause: unknown;
  for (const place of places) {
    try {
      return await LoopbackDns.open(deps, place);
    } catch (error) {
      cause = error;
      // Taken by another program: a stable address is not given up for one that changes.
      if (errorCode(error) === 'EADDRINUSE') break;
    }
  }
  const [place] = places;
  throw listenFailed(`the DNS cannot listen at ${place?.host}:${place?.port}`, cause);
}

class LoopbackDns implements DnsServer {
  readonly host: string;
  readonly port: number;
  readonly #deps: DnsDeps;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  readonly #stopped = new AbortController();
  #pending = 0;
  #second = 0;
  #questions = 0;

  static async open(deps: DnsDeps, { host, port }: SocketAddress): Promise<LoopbackDns> {
    const tcp = createServer({ noDelay: true });
    tcp.maxConnections = MAX_TCP;
    const bound = await deps.inside?.bindTcp({ host, port });
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen(bound ?? { host, port }, resolve);
    });
    const address = tcp.address() as { readonly port: number };
    try {
      const udp = (await deps.inside?.bindUdp({ host, port: address.port })) ?? (await bindUdp(host, address.port));
      return new LoopbackDns(deps, host, address.port, udp, tcp);
    } catch (error) {
      tcp.close();
      throw error;
    }
  }

  private constructor(deps: DnsDeps, host: string, port: number, udp: UdpSocket, tcp: Server) {
    this.host = host;
    this.port = port;
    this.#deps = deps;
    this.#udp = udp;
    this.#tcp = tcp;
    udp.removeAllListeners('error');
    tcp.removeAllListeners('error');
    // What fails concerns one answer or one connection.
    udp.on('error', (error) => deps.logger.debug({ code: errorCode(error), err: error }, 'DNS socket error'));
    tcp.on('error', (error) => deps.logger.debug({ code: errorCode(error), err: error }, 'DNS socket error'));
    udp.on('message', (message, from) => {
      void this.#answer(message, false).then((answer) => {
        if (answer === undefined || this.#stopped.signal.aborted) return;
        udp.send(truncated(answer), from.port, from.address);
      });
    });
    tcp.on('connection', (socket) => void this.#converse(socket));
  }

  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(new Error('the DNS stops'));
    for (const socket of this.#connections) socket.destroy();
    await Promise.all([
      new Promise<void>((resolve) => this.#udp.close(() => resolve())),
      new Promise<void>((resolve) => this.#tcp.close(() => resolve())),
    ]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Undefined: nothing is said. Never rejects. */
  async #answer(message: Buffer, overTcp: boolean): Promise<Buffer | undefined> {
    if (!this.#allows()) return undefined;
    const reading = readDnsMessage(message, (asked) => this.#deps.services(asked));
    if (reading.kind === 'nothing') return undefined;
    if (reading.kind === 'answer') return reading.answer;
    if (this.#pending >= MAX_PENDING) return reading.failure('SERVFAIL');
    this.#pending += 1;
    try {
      const upstreams = await this.#deps.upstreams();
      if (upstreams.length === 0) return reading.failure('REFUSED');
      return await forwardDns(message, upstreams, overTcp, this.#stopped.signal);
    } catch (error) {
      this.#deps.logger.debug({ code: errorCode(error), err: error }, 'DNS question not answered upstream');
      return reading.failure('SERVFAIL');
    } finally {
      this.#pending -= 1;
    }
  }

  #allows(): boolean {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) this.#questions = 0;
    this.#second = second;
    this.#questions += 1;
    return this.#questions <= QUERIES_PER_SECOND;
  }

  /** Questions one after another (RFC 7766 §6.2.1); memory: one question and what came with it. */
  async #converse(socket: Socket): Promise<void> {
    this.#connections.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#connections.delete(socket));
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    let bytes = Buffer.alloc(0);
    try {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        bytes = Buffer.concat([bytes, chunk]);
        while (bytes.length >= 2) {
          const length = bytes.readUInt16BE(0);
          if (length > MAX_QUESTION_BYTES) return;
          if (bytes.length < 2 + length) break;
          const answer = await this.#answer(bytes.subarray(2, 2 + length), true);
          if (answer === undefined) return;
          bytes = bytes.subarray(2 + length);
          const head = Buffer.alloc(2);
          head.writeUInt16BE(answer.length);
          if (!socket.write(Buffer.concat([head, answer]))) return;
        }
      }
      socket.end();
    } catch {
      // The program is gone; there is nobody to tell.
    } finally {
      socket.destroySoon();
    }
  }
}

async function bindUdp(address: string, port: number): Promise<UdpSocket> {
  const udp = createSocket('udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      udp.bind({ address, port, exclusive: true }, resolve);
    });
    return udp;
  } catch (error) {
    udp.close();
    throw error;
  }
}
