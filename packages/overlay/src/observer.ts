import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { errorCode, sleep, type Clock, type Endpoint, type Logger, type MessageStream } from '@moat/core';
import { initiationTestOf, isInitiation } from '@moat/identity';
import { AwaitedKeys, type AwaitedKey } from './awaited-keys.ts';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline, raced } from './deadline.ts';
import { parseMultiaddr } from './host.ts';
import { Intake } from './intake.ts';
import { OBSERVE_PROTOCOL, REQUEST_MS, WAIT_MS, decodeObserveRequest, encodeObserveAnswer } from './observe.ts';
import type { Probation } from './probation.ts';

/** Streams of one connection: more than may wait, so that who asks too often hears why. */
const MAX_STREAMS = 8;
const INTAKE = { reading: 256, readingPerOrigin: 16, working: 256 };
/** Requests that one counts as. */
const COST = 5;

export interface ObserverDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: Control;
  readonly probation: Probation;
}

/**
 * The anchor's side of `/moat/observe/1`, for anyone within quota. Bound: see {@link AwaitedKeys}; of UDP packets nothing
 * is kept, and none is answered. An anchor whose UDP port is taken says so and works as before.
 */
export class Observer {
  readonly #deps: ObserverDeps;
  readonly #awaited: AwaitedKeys;
  readonly #intake = new Intake(INTAKE);
  #sockets: readonly Socket[] = [];
  #port: number | undefined;

  constructor(deps: ObserverDeps) {
    this.#deps = deps;
    this.#awaited = new AwaitedKeys(deps.clock);
  }

  serve(): void {
    this.#deps.control.handle(
      OBSERVE_PROTOCOL,
      (stream, connection) => this.#serve(stream, connection),
      'anyone',
      MAX_STREAMS,
    );
  }

  /**
   * Opens the UDP port with the number of the first TCP port, at each host that is listened on and where the system lets
   * it. Never rejects.
   * @param listen multiaddrs as configured
   * @param listening the same as they stand, with the port where the system chose it
   */
  async start(listen: readonly string[], listening: readonly string[]): Promise<void> {
    const [port] = listening.flatMap((address) => tcpOf(address)?.port ?? []);
    if (port === undefined) return;
    const hosts = new Set(listen.flatMap((address) => tcpOf(address)?.host ?? []));
    const opened = await Promise.all([...hosts].map((host) => this.#open(host, port)));
    this.#sockets = opened.filter((socket) => socket !== undefined);
    this.#port = this.#sockets.length > 0 ? port : undefined;
  }

  stop(): void {
    for (const socket of this.#sockets) socket.close();
    this.#sockets = [];
    this.#port = undefined;
  }

  async #open(host: string, port: number): Promise<Socket | undefined> {
    const isV6 = isIPv6(host);
    const socket = createSocket({ type: isV6 ? 'udp6' : 'udp4', ipv6Only: isV6 });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.bind({ port, address: host, exclusive: true }, resolve);
      });
    } catch (error) {
      this.#deps.logger.warn({ host, port, code: errorCode(error) }, 'no UDP port to observe addresses at');
      socket.close();
      return undefined;
    }
    socket.removeAllListeners('error');
    socket.on('error', (error) => this.#deps.logger.debug({ err: error }, 'a UDP socket failed'));
    socket.on('message', (packet, remote) => this.#receive(packet, remote));
    return socket;
  }

  #receive(packet: Buffer, { address, port }: RemoteInfo): void {
    if (this.#awaited.size === 0 || !isInitiation(packet)) return;
    this.#awaited.take(packet, { host: address.replace(/%.*$/, ''), port });
  }

  async #serve(stream: MessageStream, connection: OverlayConnection): Promise<void> {
    const { clock, probation } = this.#deps;
    using deadline = new Deadline(clock, REQUEST_MS + WAIT_MS, connection.closed);
    const { signal } = deadline;
    const waitMs = connection.requests.take(COST);
    if (waitMs > 0) await sleep(clock, waitMs, signal);
    const { key } = decodeObserveRequest(
      await this.#intake.read(stream, connection.origin, () => this.#read(stream, signal)),
    );
    if (this.#port === undefined || connection.relayed) {
      return stream.write(encodeObserveAnswer('OBSERVE_UNAVAILABLE'), signal);
    }
    const seen = Promise.withResolvers<Endpoint>();
    const { peer, origin } = connection;
    const awaited: AwaitedKey = { peer, origin, fits: initiationTestOf(key), onSeen: seen.resolve };
    if (!this.#awaited.add(awaited)) return stream.write(encodeObserveAnswer('OBSERVE_BUSY'), signal);
    const release = probation.hold(connection);
    try {
      await stream.write(encodeObserveAnswer({ port: this.#port }), signal);
      await stream.write(encodeObserveAnswer(await this.#wait(seen.promise, signal)), signal);
    } finally {
      this.#awaited.remove(awaited);
      release();
    }
  }

  async #read(stream: MessageStream, signal: AbortSignal): Promise<Uint8Array> {
    using deadline = new Deadline(this.#deps.clock, REQUEST_MS, signal);
    return await stream.read(deadline.signal);
  }

  async #wait(seen: Promise<Endpoint>, signal: AbortSignal): Promise<Endpoint | 'OBSERVE_SILENT'> {
    using deadline = new Deadline(this.#deps.clock, WAIT_MS, signal);
    try {
      return await raced(seen, deadline.signal);
    } catch (error) {
      if (signal.aborted) throw error;
      return 'OBSERVE_SILENT';
    }
  }
}

function tcpOf(address: string): Endpoint | undefined {
  const components = parseMultiaddr(address).getComponents();
  const host = components.find(({ name }) => name === 'ip4' || name === 'ip6')?.value;
  const port = components.find(({ name }) => name === 'tcp')?.value;
  return host === undefined || port === undefined ? undefined : { host, port: Number(port) };
}
