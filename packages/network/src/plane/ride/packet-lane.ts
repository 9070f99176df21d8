import { errorCode, type AcceptHead, type LinkStream, type StreamEvents } from '@moat/core';
import { LENGTH_BYTES, MAX_PACKET_BYTES, PacketReader } from './packet-reader.ts';
import { PacketQueue } from './packet-queue.ts';

export interface PacketLaneDeps {
  /** A packet arrived; borrowed until the call returns. */
  onPacket(packet: Uint8Array): void;
  /** The other side takes packets. Only on a stream of our own. */
  onConnected(): void;
  /** Called once, also after {@link PacketLane.end}. */
  onClosed(code: string | undefined): void;
}

/**
 * One stream of packets of a link. Bound: what the link's credit lets out, then a {@link PacketQueue}: without credit the
 * oldest packets are dropped instead of all being late.
 */
export class PacketLane implements StreamEvents {
  readonly #deps: PacketLaneDeps;
  readonly #stream: LinkStream;
  readonly #waiting = new PacketQueue();
  readonly #reader: PacketReader;
  #hasCredit = true;
  #isOver = false;

  constructor(deps: PacketLaneDeps, stream: LinkStream) {
    this.#deps = deps;
    this.#stream = stream;
    this.#reader = new PacketReader((packet) => deps.onPacket(packet));
    stream.listen(this);
  }

  /** Packets that this lane threw away. */
  get dropped(): number {
    return this.#waiting.dropped;
  }

  /** `packet` has 1 to 65,507 bytes and is the lane's from now on. */
  send(packet: Uint8Array): void {
    if (this.#isOver) return;
    if (this.#hasCredit) this.#write(packet);
    else this.#waiting.push(packet);
  }

  end(code: string): void {
    if (!this.#isOver) this.#stream.reset(code);
  }

  onHead(_head: AcceptHead): void {
    this.#deps.onConnected();
  }

  onData(chunk: Uint8Array): void {
    try {
      this.#reader.push(chunk);
    } catch (error) {
      this.#stream.reset(errorCode(error));
    }
  }

  /** A lane of one direction is of no use. */
  onEnd(): void {
    this.#stream.reset('PACKETS_OVER');
  }

  onDrain(): void {
    this.#hasCredit = true;
    while (this.#hasCredit) {
      const packet = this.#waiting.shift();
      if (packet === undefined) return;
      this.#write(packet);
    }
  }

  onClose(code?: string): void {
    this.#isOver = true;
    this.#waiting.clear();
    this.#deps.onClosed(code);
  }

  #write(packet: Uint8Array): void {
    // The stream copies it before it returns, so one buffer serves all.
    scratch.writeUInt16BE(packet.length);
    scratch.set(packet, LENGTH_BYTES);
    this.#hasCredit = this.#stream.write(scratch.subarray(0, LENGTH_BYTES + packet.length));
  }
}

const scratch = Buffer.allocUnsafeSlow(LENGTH_BYTES + MAX_PACKET_BYTES);
