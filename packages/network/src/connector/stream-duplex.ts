/** A link's stream as Node's streams know them: for TLS inside of it. Back-pressure and half-close both ways. */
import { Duplex } from 'node:stream';
import type { LinkStream, StreamEvents } from '@moat/core';

/** Bound: what the stream's window lets in, and one chunk that the link has no credit for. */
export class StreamDuplex extends Duplex {
  readonly #stream: LinkStream;
  readonly events: StreamEvents;
  #waiting: (() => void) | undefined;
  #over = false;

  /** Give {@link StreamDuplex.events} to the stream. */
  constructor(stream: LinkStream) {
    super({ allowHalfOpen: true });
    this.#stream = stream;
    this.events = {
      onHead: () => undefined,
      // Borrowed, and read later.
      onData: (chunk) => {
        if (!this.push(Buffer.from(chunk))) this.#stream.pause();
      },
      onEnd: () => void this.push(null),
      onDrain: () => this.#written(),
      onClose: (code) => {
        this.#over = true;
        this.#written();
        if (code !== undefined) this.destroy();
      },
    };
  }

  override _read(): void {
    if (!this.#over) this.#stream.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#over || this.#stream.write(chunk)) done();
    else this.#waiting = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#over) this.#stream.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#written();
    done(error);
  }

  #written(): void {
    const done = this.#waiting;
    this.#waiting = undefined;
    done?.();
  }
}
