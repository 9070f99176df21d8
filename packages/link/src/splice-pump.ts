/**
 * One direction of a splice: what one socket read, the other writes, out of memory that is used again. A read into a new
 * buffer each, as sockets do by themselves, cost an anchor 2.5 times the processor (`npm run bench:splice`).
 */
import type { Socket } from 'node:net';

import { giveSlab, takeSlab } from './slabs.ts';

/** Bytes of one read: as many as stay in the processor's cache between the two copies. Measured from 8 to 512 KiB: 24 to 48 are best. */
const READ_BYTES = 32 * 1024;
/** A slab with less room than this takes no more reads. */
const MIN_ROOM_BYTES = 16 * 1024;
/** A slab that the writer still refers to. */
interface HeldSlab {
  readonly slab: Buffer;
  /** Bytes that had been written in all when it was full. */
  readonly until: number;
}

/** Bound: one slab, and the slabs that what waits in the writer takes. */
export class SplicePump {
  readonly #held: HeldSlab[] = [];
  #slab = takeSlab();
  #offset = 0;
  #written = 0;
  #room = this.#slab.subarray(0, READ_BYTES);

  /** Where the next read goes. */
  get room(): Buffer {
    return this.#room;
  }

  /** Writes `chunk`, the beginning of {@link room}. */
  pass(chunk: Buffer, to: Socket): void {
    to.write(chunk);
    this.#written += chunk.length;
    const waiting = to.writableLength;
    // What the kernel took at once is written over; only what waits needs its memory.
    if (waiting > 0) this.#keep(chunk.length);
    else if (this.#offset > 0) this.#offer(0);
    this.#giveBack(this.#written - waiting);
  }

  /** Gives its memory back; both sockets must be closed. */
  close(): void {
    this.#giveBack(Infinity);
    giveSlab(this.#slab);
  }

  #keep(bytes: number): void {
    const end = this.#offset + bytes;
    if (this.#slab.length - end >= MIN_ROOM_BYTES) return this.#offer(end);
    this.#held.push({ slab: this.#slab, until: this.#written });
    this.#slab = takeSlab();
    this.#offer(0);
  }

  #offer(offset: number): void {
    this.#offset = offset;
    this.#room = this.#slab.subarray(offset, offset + READ_BYTES);
  }

  #giveBack(done: number): void {
    for (let first = this.#held[0]; first !== undefined && first.until <= done; first = this.#held[0]) {
      this.#held.shift();
      giveSlab(first.slab);
    }
  }
}
