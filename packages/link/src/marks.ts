import type { FrameWriter } from './frame-writer.ts';
import type { Pings } from './pings.ts';

/** Bytes sent between two questions how far the peer has read. */
const MARK_BYTES = 256 * 1024;
/** The same, while little or nothing is sent. */
const LEAST_MARK_BYTES = 4096;

/** Asks now and then how far the peer has read, so that what it has need not be kept. */
export class Marks {
  readonly #writer: FrameWriter;
  readonly #pings: Pings;
  #markedAt = 0;
  #isDue = false;
  #stopped = false;

  constructor(writer: FrameWriter, pings: Pings) {
    this.#writer = writer;
    this.#pings = pings;
  }

  /** Frames left. */
  sent(): void {
    if (this.#isDue || this.#writer.writtenBytes - this.#markedAt <= MARK_BYTES) return;
    // Not here: the writer is in the middle of a frame.
    this.#isDue = true;
    setImmediate(this.#onDue);
  }

  /** A look of the heartbeat. */
  look(): void {
    if (this.#writer.writtenBytes - this.#markedAt > LEAST_MARK_BYTES) this.ask();
  }

  ask(): void {
    this.#isDue = false;
    if (this.#stopped) return;
    this.#pings.mark();
    this.#markedAt = this.#writer.writtenBytes;
  }

  stop(): void {
    this.#stopped = true;
  }

  readonly #onDue = (): void => this.ask();
}
