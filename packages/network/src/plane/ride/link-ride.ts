/**
 * Packets of one peer over a link, where UDP does not lead to it, or not yet. WireGuard sends them to a loopback socket of
 * ours as if the peer were there; the other machine's ride hands them to its WireGuard the same way. What is inside
 * stays sealed between the two WireGuards.
 */
import { createSocket, type Socket } from 'node:dgram';
import {
  MoatError,
  errorCode,
  isMoatError,
  type Clock,
  type DeploymentId,
  type Endpoint,
  type Link,
  type LinkPath,
} from '@moat/core';
import type { LinkStream, Links, Logger, PeerId, Timer } from '@moat/core';
import { refuse } from '../../refuse.ts';
import { HandshakeGate } from './handshake-gate.ts';
import { PacketLane } from './packet-lane.ts';
import { PacketQueue } from './packet-queue.ts';
import { MAX_PACKET_BYTES } from './packet-reader.ts';
import type { PacketRide } from '../paths/path-ports.ts';

const LOOPBACK = '127.0.0.1';
/** Milliseconds for a link to stand. */
const CONNECT_MS = 10_000;
/** Milliseconds until the next attempt after one that failed: doubles from the first to the second. */
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 30_000;
/** Bytes that the kernel keeps for us, as far as it lets us: a burst must outlast a turn of the loop. */
const KERNEL_BUFFER_BYTES = 1024 * 1024;
/** Bytes that may wait in our socket for WireGuard; more are dropped. */
const MAX_UNSENT_BYTES = 1024 * 1024;

export interface LinkRideDeps {
  readonly links: Pick<Links, 'connect' | 'get'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface LinkRideOptions {
  readonly deployment: DeploymentId;
  readonly peer: PeerId;
  /** UDP port of our WireGuard interface. */
  readonly wireguardPort: number;
  /** True on one of the two sides: of two handshakes that cross, its counts. */
  readonly leads: boolean;
  /** Milliseconds without a packet either way, after which it rests. @defaultValue 60000 */
  readonly idleMs?: number;
}

/** What went through, since it was made. */
export interface RideCounts {
  readonly sent: number;
  readonly sentBytes: number;
  readonly received: number;
  readonly receivedBytes: number;
  /** Packets that came while no link stood or its credit was out, and handshakes that a peer began too often or late. */
  readonly dropped: number;
}

/**
 * Opens a socket on `start` and a stream on the first packet; goes on with a new stream when one ends. Both sides may open
 * one at the same time: each takes packets from either, and sends by its own.
 * Bound: one stream each way; a {@link PacketQueue} until the link stands and another one when credit is out.
 */
export class LinkRide implements PacketRide {
  /** Called for the first packet, from either side, after the ride was opened or put to rest. */
  onWake: () => void = () => undefined;
  readonly #deps: LinkRideDeps;
  readonly #options: LinkRideOptions;
  readonly #counts = { sent: 0, sentBytes: 0, received: 0, receivedBytes: 0, dropped: 0 };
  readonly #waiting = new PacketQueue();
  readonly #handshakes: HandshakeGate;
  #isClosed = false;
  #socket: Socket | undefined;
  #port = 0;
  /** The stream we opened, and its link. */
  #own: { readonly lane: PacketLane; readonly link: Link } | undefined;
  /** The stream that the peer opened. */
  #taken: PacketLane | undefined;
  #opening: AbortController | undefined;
  #failures = 0;
  #retryAt = 0;
  #refusal: string | undefined;
  #usedAt: number | undefined;
  #idle: Timer | undefined;
  #held: Timer | undefined;

  constructor(deps: LinkRideDeps, options: LinkRideOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#handshakes = new HandshakeGate(deps.clock, options.leads);
  }

  /** Where WireGuard sends what shall ride. */
  get endpoint(): Endpoint {
    return { host: LOOPBACK, port: this.#port };
  }

  /** How packets go now; null while nothing runs. */
  get path(): LinkPath | null {
    if (this.#own !== undefined) return this.#own.link.path;
    return this.#taken === undefined ? null : (this.#deps.links.get(this.#options.peer)?.path ?? null);
  }

  /** Code of the last attempt, while it is the last word. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  get counts(): RideCounts {
    const dropped = this.#counts.dropped + this.#waiting.dropped;
    return { ...this.#counts, dropped: dropped + (this.#own?.lane.dropped ?? 0) + (this.#taken?.dropped ?? 0) };
  }

  /** @throws `LISTEN_FAILED` */
  async start(): Promise<void> {
    const socket = createSocket('udp4');
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        // The kernel then drops what is not from WireGuard.
        socket.once('connect', resolve);
        socket.bind(0, LOOPBACK, () => socket.connect(this.#options.wireguardPort, LOOPBACK));
      });
    } catch (cause) {
      socket.close();
      throw new MoatError('LISTEN_FAILED', 'no loopback port for packets', { cause, reason: errorCode(cause) });
    }
    socket.removeAllListeners('error');
    socket.setRecvBufferSize(KERNEL_BUFFER_BYTES);
    // WireGuard's port is closed while its interface is made anew.
    socket.on('error', () => undefined);
    socket.on('message', (packet) => this.#onLocal(packet));
    this.#socket = socket;
    this.#port = socket.address().port;
  }

  /** A stream that the peer opened and that was admitted; the newest one counts. */
  take(stream: LinkStream): void {
    if (this.#isClosed) return refuse(stream, 'PACKETS_REFUSED');
    const before = this.#taken;
    const lane = this.#lane(stream, (code) => {
      if (this.#taken === lane) this.#taken = undefined;
      this.#deps.logger.debug({ peer: stream.peer, code }, 'packets from a peer ended');
    });
    this.#taken = lane;
    before?.end('PACKETS_OVER');
    stream.writeHead({ connected: true });
    // The peer's link came before ours stood.
    this.#sendWaiting();
    this.#use();
  }

  /** What our WireGuard sends waits so many milliseconds, as it does for a link; 0 lets it go now. */
  hold(delayMs: number): void {
    this.#held?.cancel();
    this.#held = undefined;
    if (delayMs > 0) this.#held = this.#deps.clock.after(delayMs, () => this.hold(0));
    else this.#sendWaiting();
  }

  /** Ends the streams and keeps the socket: the next packet wakes it again. */
  rest(): void {
    this.#usedAt = undefined;
    this.#idle?.cancel();
    this.#idle = undefined;
    this.#opening?.abort(new MoatError('PACKETS_OVER', 'packets go another way'));
    this.#held?.cancel();
    this.#held = undefined;
    this.#waiting.clear();
    this.#own?.lane.end('PACKETS_OVER');
    this.#taken?.end('PACKETS_OVER');
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.rest();
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket !== undefined) await new Promise<void>((resolve) => socket.close(() => resolve()));
  }

  #onLocal(packet: Buffer): void {
    if (packet.length === 0 || packet.length > MAX_PACKET_BYTES) return;
    this.#counts.sent += 1;
    this.#counts.sentBytes += packet.length;
    this.#handshakes.left(packet);
    const lane = this.#own?.lane ?? this.#taken;
    if (lane !== undefined && this.#held === undefined) lane.send(packet);
    else this.#waiting.push(packet);
    if (lane === undefined) this.#open();
    this.#use();
  }

  #onPeer(packet: Uint8Array): void {
    this.#counts.received += 1;
    this.#counts.receivedBytes += packet.length;
    const socket = this.#socket;
    if (socket === undefined) return;
    if (!this.#handshakes.admits(packet)) this.#counts.dropped += 1;
    else if (socket.getSendQueueSize() > MAX_UNSENT_BYTES) this.#counts.dropped += 1;
    // A copy, since it is borrowed and the socket may send it later.
    else socket.send(Buffer.from(packet), nothing);
    this.#use();
  }

  /** Until it succeeds or fails, packets wait. */
  #open(): void {
    const { clock, links } = this.#deps;
    const { deployment, peer } = this.#options;
    if (this.#opening !== undefined) return;
    if (clock.now() < this.#retryAt) return this.#waiting.clear();
    const opening = new AbortController();
    const { signal } = opening;
    const timer = clock.after(CONNECT_MS, () =>
      opening.abort(new MoatError('PEER_UNREACHABLE', 'no link in time', { retryable: true })),
    );
    const settle = (link: Link | undefined, code: string): void => {
      // An attempt that was given up may still settle.
      if (this.#opening !== opening) return;
      this.#opening = undefined;
      timer.cancel();
      try {
        if (link === undefined) throw new MoatError(code, 'no link');
        this.#join(link.open({ deployment, service: '', kind: 'packets' }), link);
      } catch (error) {
        if (!isMoatError(error, 'PACKETS_OVER')) this.#failed(errorCode(error));
      }
    };
    this.#opening = opening;
    signal.addEventListener('abort', () => settle(undefined, errorCode(signal.reason)), { once: true });
    links.connect(peer, signal).then(
      (link) => settle(link, ''),
      (error: unknown) => settle(undefined, errorCode(error)),
    );
  }

  #join(stream: LinkStream, link: Link): void {
    let isConnected = false;
    const lane = this.#lane(
      stream,
      (code) => {
        if (this.#own?.lane === lane) this.#own = undefined;
        if (!isConnected && code !== 'PACKETS_OVER') this.#failed(code ?? 'LINK_CLOSED');
      },
      () => {
        isConnected = true;
        this.#failures = 0;
        this.#refusal = undefined;
      },
    );
    this.#own = { lane, link };
    this.#sendWaiting();
  }

  #sendWaiting(): void {
    const lane = this.#own?.lane ?? this.#taken;
    if (lane === undefined || this.#held !== undefined) return;
    for (let packet = this.#waiting.shift(); packet !== undefined; packet = this.#waiting.shift()) {
      this.#handshakes.left(packet);
      lane.send(packet);
    }
  }

  #lane(stream: LinkStream, onClosed: (code: string | undefined) => void, onConnected = nothing): PacketLane {
    const lane = new PacketLane(
      {
        onPacket: (packet) => this.#onPeer(packet),
        onConnected,
        onClosed: (code) => {
          this.#counts.dropped += lane.dropped;
          this.#handshakes.lost();
          onClosed(code);
        },
      },
      stream,
    );
    return lane;
  }

  #failed(code: string): void {
    this.#refusal = code;
    this.#waiting.clear();
    this.#handshakes.lost();
    this.#retryAt = this.#deps.clock.now() + Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 16);
    this.#deps.logger.debug({ peer: this.#options.peer, code }, 'packets find no link');
  }

  #use(): void {
    const wakes = this.#usedAt === undefined;
    this.#usedAt = this.#deps.clock.now();
    if (!wakes) return;
    this.#watch();
    this.onWake();
  }

  /** One timer, however many packets. */
  #watch(): void {
    const { idleMs = 60_000 } = this.#options;
    const leftMs = (this.#usedAt ?? 0) + idleMs - this.#deps.clock.now();
    if (leftMs <= 0) this.rest();
    else this.#idle = this.#deps.clock.after(leftMs, () => this.#watch());
  }
}

function nothing(): void {
  // An error of a UDP send is a packet lost: WireGuard sends again what matters.
}
