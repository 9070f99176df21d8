/**
 * One libp2p stream as a byte channel, both directions paced: `write` says stop before 1 MiB waits unsent,
 * and a paused reader stops the peer within one Yamux window (256 KiB), which stays in the stream's buffer.
 */
import { noteReadBuffer, type ByteChannel } from '@moat/core';
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';

/** Unsent bytes at which `write` says stop; with chunks of ≤ 64 KiB at most 1 MiB waits. */
const WRITE_HIGH_BYTES = 960 * 1024;
const WRITE_LOW_BYTES = 256 * 1024;
/** Milliseconds the peer may take to read what waits once our direction is ended. */
const END_MS = 120_000;

/** Bound: 1 MiB unsent for a writer that heeds `write`; one that does not is reset at the stream's own cap. */
export class StreamByteChannel implements ByteChannel {
  onData: (chunk: Uint8Array) => void = () => undefined;
  onDrain: () => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error?: Error) => void = () => undefined;
  readonly #stream: Stream;
  #paused = false;
  #blocked = false;
  /** Handlers are in place: the turn in which the owner got the channel is over. */
  #live = false;
  #ended = false;
  #closed: { readonly error: Error | undefined } | undefined;
  #told = false;
  #toldEnd = false;
  /** Destroyed by our owner without an error, so the close has none either. */
  #quiet = false;

  constructor(stream: Stream) {
    this.#stream = stream;
    if (stream.readStatus === 'readable') stream.pause();
    stream.addEventListener('message', this.#onMessage);
    stream.addEventListener('end', this.#onEnded);
    stream.addEventListener('close', this.#onClosed);
    stream.addEventListener('drain', this.#onDrained);
    stream.addEventListener('idle', this.#onDrained);
    if (stream.readableEnded) this.#ended = true;
    if (stream.status !== 'open' && stream.status !== 'closing') this.#closed = { error: undefined };
    setImmediate(() => this.#begin());
  }

  get bufferedBytes(): number {
    return this.#stream.writeBufferLength;
  }

  write(chunk: Uint8Array): boolean {
    try {
      this.#stream.send(chunk);
    } catch {
      return false; // closed; onClose tells
    }
    if (this.#stream.writeBufferLength < WRITE_HIGH_BYTES) return true;
    this.#blocked = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
    if (this.#stream.readStatus === 'readable') this.#stream.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#live && this.#stream.readStatus === 'paused') this.#stream.resume();
  }

  end(): void {
    this.#stream.close({ signal: AbortSignal.timeout(END_MS) }).catch((error: unknown) => this.destroy(error as Error));
  }

  destroy(error?: Error): void {
    this.#quiet = error === undefined;
    this.#stream.abort(error ?? new Error('closed by this side'));
  }

  #begin(): void {
    this.#live = true;
    if (this.#ended && this.#stream.readBufferLength === 0) this.#tellEnd();
    if (!this.#paused && this.#stream.readStatus === 'paused') this.#stream.resume();
    this.#tellClose();
  }

  readonly #onMessage = (event: StreamMessageEvent): void => {
    // Each message was decrypted into memory of its own.
    noteReadBuffer(event.data.byteLength);
    if (event.data instanceof Uint8Array) return this.onData(event.data);
    for (const piece of event.data) this.onData(piece);
  };

  readonly #onEnded = (): void => {
    this.#ended = true;
    if (this.#live) this.#tellEnd();
    this.#tellClose();
  };

  readonly #onClosed = (event: StreamCloseEvent): void => {
    this.#closed = { error: this.#quiet ? undefined : event.error };
    this.#tellClose();
  };

  readonly #onDrained = (): void => {
    if (!this.#blocked) return;
    // libp2p goes on sending in a microtask queued by its own listener, which runs before ours
    queueMicrotask(() => {
      if (!this.#blocked || this.#closed !== undefined || this.#stream.writeBufferLength > WRITE_LOW_BYTES) return;
      this.#blocked = false;
      this.onDrain();
    });
  };

  #tellEnd(): void {
    if (this.#toldEnd || this.#told || this.#stream.status === 'aborted' || this.#stream.status === 'reset') return;
    this.#toldEnd = true;
    this.onEnd();
  }

  /** Last of all: after a clean close only when everything that arrived has been read. */
  #tellClose(): void {
    if (!this.#live || this.#closed === undefined || this.#told) return;
    if (this.#closed.error === undefined && this.#stream.readBufferLength > 0) return;
    this.#told = true;
    this.onClose(this.#closed.error);
  }
}
