/**
 * One UDP port between two peers of a WireGuard tunnel: what comes from one goes to the other. The hot path of a
 * forwarder: nothing is copied, queued or looked up for a packet.
 */
import { randomBytes } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv4 } from 'node:net';
import type { Clock, Endpoint, InitiationTest, InitiationTests, PeerId } from '@moat/core';
import type { ByteBudget } from './byte-budget.ts';
import { plainEndpoint } from './forward-messages.ts';

/** Bytes of a packet: WireGuard in a tunnel of 1500 bytes, and a little more. */
const MAX_PACKET_BYTES = 1600;
const INITIATION_BYTES = 148;
const INITIATION_TYPE = 1;
/** Handshakes of one key that are remembered, so that none counts twice; after so many it takes no more. */
const MAX_SEEN = 256;
/** Packets a second that are tested for a key; more are taken for what they look like. */
const TESTS_PER_SECOND = 200;
/** Milliseconds that an address may be silent while it is sent to; WireGuard answers within ten seconds. */
const SILENT_MS = 30_000;
/** Milliseconds between two packets to an address that is silent for longer: its WireGuard may be back. */
const KNOCK_MS = 1000;
/** Bytes that our socket may hold for the network; more are dropped. */
const MAX_UNSENT_BYTES = 1024 * 1024;
const KERNEL_BUFFER_BYTES = 1024 * 1024;

/** One of the two. */
export interface ForwardSide {
  readonly peer: PeerId;
  readonly budget: ByteBudget;
  /** For whom a probe tells its address; undefined until it asked. */
  key: { readonly text: string; readonly fits: InitiationTest; readonly seen: Set<string> } | undefined;
  /** As the socket has it. */
  address: { readonly host: string; readonly port: number } | undefined;
  /** Since when packets to it go unanswered, in milliseconds since 1970. */
  unansweredSince: number | undefined;
  knockedAt: number;
}

export interface ForwardPairDeps {
  readonly clock: Clock;
  readonly initiations: InitiationTests;
  /** Of all pairs together. */
  readonly budget: ByteBudget;
  /** This side sends from there now. */
  onLearned(side: ForwardSide, from: Endpoint): void;
}

/**
 * Rules, so that nobody is hit by packets it did not ask for:
 * - an address is learned only from a handshake for the key that its side alone was told, each handshake once;
 * - a packet from anywhere else is dropped, a packet of a side goes to the other, as it is: never more bytes out than in;
 * - an address that is silent for 30 s while it is sent to gets one small packet a second until it is heard again;
 * - who sends faster than its budget loses packets. Nothing is queued here.
 */
export class ForwardPairSocket {
  readonly sides: readonly [ForwardSide, ForwardSide];
  readonly #deps: ForwardPairDeps;
  readonly #socket: Socket;
  readonly #isDual: boolean;
  #usedAt: number;
  #second = 0;
  #tests = 0;
  #packets = 0;
  #bytes = 0;
  #dropped = 0;

  private constructor(
    deps: ForwardPairDeps,
    socket: Socket,
    isDual: boolean,
    sides: readonly [ForwardSide, ForwardSide],
  ) {
    this.#deps = deps;
    this.#socket = socket;
    this.#isDual = isDual;
    this.sides = sides;
    this.#usedAt = deps.clock.now();
  }

  /** Opens the port; 0 = any. Rejects with Node's own error. */
  static async open(
    deps: ForwardPairDeps,
    port: number,
    sides: readonly [ForwardSide, ForwardSide],
  ): Promise<ForwardPairSocket> {
    const { socket, isDual } = await bound(port);
    const pair = new ForwardPairSocket(deps, socket, isDual, sides);
    socket.on('message', (packet, from) => pair.#onPacket(packet, from));
    // Somebody's router says that a port is closed; the next packet may get through.
    socket.on('error', () => undefined);
    return pair;
  }

  get port(): number {
    return this.#socket.address().port;
  }

  /** When a packet was passed on or an address learned last, in milliseconds since 1970. */
  get usedAt(): number {
    return this.#usedAt;
  }

  get counts(): { readonly packets: number; readonly bytes: number; readonly dropped: number } {
    return { packets: this.#packets, bytes: this.#bytes, dropped: this.#dropped };
  }

  /** A key for this side; one it had counts no more. Where it is stays known. */
  newKey(side: ForwardSide): string {
    const text = randomBytes(32).toString('base64');
    side.key = { text, fits: this.#deps.initiations(text), seen: new Set() };
    this.#usedAt = this.#deps.clock.now();
    return text;
  }

  close(): void {
    this.#socket.close();
  }

  #onPacket(packet: Buffer, from: RemoteInfo): void {
    const [a, b] = this.sides;
    if (this.#mayTest(packet) && (this.#learns(a, packet, from) || this.#learns(b, packet, from))) return;
    if (isAt(a, from)) this.#pass(packet, a, b);
    else if (isAt(b, from)) this.#pass(packet, b, a);
    else this.#dropped += 1;
  }

  #mayTest(packet: Buffer): boolean {
    if (packet.length !== INITIATION_BYTES || packet[0] !== INITIATION_TYPE) return false;
    const second = Math.floor(this.#deps.clock.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#tests = 0;
    }
    this.#tests += 1;
    return this.#tests <= TESTS_PER_SECOND;
  }

  /** True for a handshake for the side's key, which is nobody else's business. */
  #learns(side: ForwardSide, packet: Buffer, { address, port }: RemoteInfo): boolean {
    const { key } = side;
    if (key === undefined) return false;
    const id = key.fits(packet);
    if (id === undefined) return false;
    if (key.seen.has(id) || key.seen.size >= MAX_SEEN) {
      this.#dropped += 1;
      return true;
    }
    key.seen.add(id);
    const isNews = key.seen.size === 1 || side.address?.port !== port || side.address.host !== address;
    side.address = { host: address, port };
    side.unansweredSince = undefined;
    this.#usedAt = this.#deps.clock.now();
    if (isNews) this.#deps.onLearned(side, plainEndpoint(address, port));
    return true;
  }

  #pass(packet: Buffer, from: ForwardSide, to: ForwardSide): void {
    from.unansweredSince = undefined;
    const now = this.#deps.clock.now();
    if (to.address === undefined || !this.#mayPass(packet, from, to, now)) {
      this.#dropped += 1;
      return;
    }
    to.unansweredSince ??= now;
    this.#usedAt = now;
    this.#packets += 1;
    this.#bytes += packet.length;
    this.#socket.send(packet, to.address.port, this.#isDual ? dual(to.address.host) : to.address.host, nothing);
  }

  #mayPass(packet: Buffer, from: ForwardSide, to: ForwardSide, now: number): boolean {
    if (packet.length > MAX_PACKET_BYTES || this.#socket.getSendQueueSize() > MAX_UNSENT_BYTES) return false;
    if (to.unansweredSince !== undefined && now - to.unansweredSince > SILENT_MS) {
      if (packet.length > INITIATION_BYTES || now - to.knockedAt < KNOCK_MS) return false;
      to.knockedAt = now;
    }
    return from.budget.take(packet.length) && this.#deps.budget.take(packet.length);
  }
}

/** For both families where the machine has both. */
async function bound(port: number): Promise<{ readonly socket: Socket; readonly isDual: boolean }> {
  try {
    return { socket: await open('udp6', '::', port), isDual: true };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw error;
    return { socket: await open('udp4', '0.0.0.0', port), isDual: false };
  }
}

async function open(type: 'udp4' | 'udp6', address: string, port: number): Promise<Socket> {
  // Addresses are never names here; Node would ask its resolver, a turn later, for each packet.
  const socket = createSocket({ type, lookup: (host, _, callback) => callback(null, host, type === 'udp6' ? 6 : 4) });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ port, address, exclusive: true }, resolve);
    });
  } catch (error) {
    socket.close();
    throw error;
  }
  socket.removeAllListeners('error');
  socket.setRecvBufferSize(KERNEL_BUFFER_BYTES);
  socket.setSendBufferSize(KERNEL_BUFFER_BYTES);
  return socket;
}

function isAt({ address }: ForwardSide, from: RemoteInfo): boolean {
  return address !== undefined && address.port === from.port && address.host === from.address;
}

function dual(host: string): string {
  return isIPv4(host) ? `::ffff:${host}` : host;
}

function nothing(): void {
  // A packet lost: WireGuard sends again what matters.
}
