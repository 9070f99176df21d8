import { FRAME, type FrameType } from './frame.ts';
import { SLAB_BYTES, giveSlab, takeSlab } from './slabs.ts';

/** Small writes that wait are gathered in buffers of this size. */
const GATHER_BYTES = 4096;
/** From here on a slab is used: what waits for credit is most of a body whose reader is slower than its service. */
const LEAST_IN_SLAB_BYTES = 16 * 1024;

/** A frame, or data of any length, that waits; of `bytes` the first `length` count. */
export interface Waiting {
  readonly type: FrameType;
  readonly bytes: Uint8Array;
  length: number;
  /** Of data: how much has left. */
  sent: number;
  /** What holds `bytes`, where it is to be used again. */
  slab: Buffer | undefined;
}

/** What one stream wants to send and cannot yet, in order. Bound: its owner looks at {@link bytes}. */
export class SendQueue {
  #items: Waiting[] = [];
  #bytes = 0;

  get first(): Waiting | undefined {
    return this.#items[0];
  }

  get isEmpty(): boolean {
    return this.#items.length === 0;
  }

  /** Payload bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a frame; `bytes` belongs to the queue from now on. */
  frame(type: FrameType, bytes: Buffer): void {
    this.#items.push({ type, bytes, slab: undefined, length: bytes.length, sent: 0 });
    this.#bytes += bytes.length;
  }

  /** Adds data; `chunk` is copied. */
  data(chunk: Uint8Array): void {
    this.#bytes += chunk.length;
    const last = this.#items.at(-1);
    if (last?.type === FRAME.data && last.length + chunk.length <= last.bytes.length) {
      last.bytes.set(chunk, last.length);
      last.length += chunk.length;
      return;
    }
    const slab = chunk.length >= LEAST_IN_SLAB_BYTES && chunk.length <= SLAB_BYTES ? takeSlab() : undefined;
    const bytes = slab ?? new Uint8Array(Math.max(chunk.length, GATHER_BYTES));
    bytes.set(chunk);
    this.#items.push({ type: FRAME.data, bytes, slab, length: chunk.length, sent: 0 });
  }

  /** Takes `item` off, which was the first when its turn began; nothing when the queue was cleared since. */
  shift(item: Waiting): void {
    if (this.#items[0] !== item) return;
    this.#items.shift();
    this.#bytes -= item.length;
    release(item);
  }

  clear(): void {
    for (const item of this.#items) release(item);
    this.#items = [];
    this.#bytes = 0;
  }
}

function release({ slab }: Waiting): void {
  if (slab !== undefined) giveSlab(slab);
}
