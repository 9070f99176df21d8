/**
 * Whole messages over one libp2p stream: 4 bytes of length (big endian), then that many bytes.
 * libp2p's own helpers are avoided on purpose: its async iterator queues without bound, and its `onDrain`
 * resolves at once after the first time. Here the reader pauses the stream, and writers wait for its buffer.
 */
import { MoatError, type MessageStream, type PeerConnection } from '@moat/core';
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';
import { drained } from './drained.ts';
import { Wakeup } from './wakeup.ts';

/** Bytes of one message. */
export const MAX_MESSAGE_BYTES: number = 64 * 1024;
const LENGTH_BYTES = 4;
/** Milliseconds for what was written to be taken. */
const CLOSE_MS = 5000;
/** Unread bytes above which the peer is made to stop; one whole message always fits below. */
const READ_HIGH_BYTES = 128 * 1024;
/** Unsent bytes that a writer may leave behind. */
const WRITE_HIGH_BYTES = 128 * 1024;

/** Bound: {@link READ_HIGH_BYTES} plus one Yamux window unread; the peer waits, nothing is dropped. */
export class FramedStream implements MessageStream {
  readonly connection: PeerConnection;
  readonly #stream: Stream;
  readonly #wakeup = new Wakeup();
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #ended = false;
  #failure: Error | undefined;

  constructor(stream: Stream, connection: PeerConnection) {
    this.connection = connection;
    this.#stream = stream;
    stream.addEventListener('message', this.#onMessage);
    stream.addEventListener('end', this.#onEnd);
    stream.addEventListener('close', this.#onClose);
    if (stream.readableEnded) this.#ended = true;
    if (stream.status === 'aborted' || stream.status === 'reset') this.#failure = ended();
  }

  async read(signal: AbortSignal): Promise<Uint8Array> {
    for (;;) {
      const message = this.#take();
      if (message !== undefined) return message;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) throw ended();
      await this.#wakeup.next(signal);
    }
  }

  async write(message: Uint8Array, signal: AbortSignal): Promise<void> {
    if (message.length > MAX_MESSAGE_BYTES) throw tooLarge(message.length);
    signal.throwIfAborted();
    const frame = new Uint8Array(LENGTH_BYTES + message.length);
    new DataView(frame.buffer).setUint32(0, message.length);
    frame.set(message, LENGTH_BYTES);
    try {
      this.#stream.send(frame);
    } catch (cause) {
      throw ended(cause);
    }
    await drained(this.#stream, WRITE_HIGH_BYTES, signal);
  }

  async close(): Promise<void> {
    // Not `AbortSignal.timeout`: it goes on when all is closed, and each makes an error with a stack in the end.
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), CLOSE_MS);
    try {
      await this.#stream.close({ signal: patience.signal });
    } catch (cause) {
      this.#stream.abort(ended(cause));
    } finally {
      clearTimeout(timer);
    }
  }

  abort(reason: Error): void {
    this.#stream.abort(reason);
  }

  readonly #onMessage = (event: StreamMessageEvent): void => {
    const data = event.data instanceof Uint8Array ? event.data : event.data.subarray();
    this.#chunks.push(data);
    this.#bytes += data.length;
    if (this.#bytes > READ_HIGH_BYTES && this.#stream.readStatus === 'readable') this.#stream.pause();
    this.#wakeup.wake();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wakeup.wake();
  };

  readonly #onClose = (event: StreamCloseEvent): void => {
    if (event.error !== undefined) this.#failure = ended(event.error);
    else if (this.#stream.readBufferLength === 0) this.#ended = true;
    this.#wakeup.wake();
  };

  /** The next whole message, if it is here. @throws `MESSAGE_TOO_LARGE` */
  #take(): Uint8Array | undefined {
    if (this.#bytes < LENGTH_BYTES) return undefined;
    const buffer = this.#join();
    const length = new DataView(buffer.buffer, buffer.byteOffset).getUint32(0);
    if (length > MAX_MESSAGE_BYTES) {
      const error = tooLarge(length);
      this.#failure = error;
      this.#stream.abort(error);
      throw error;
    }
    const end = LENGTH_BYTES + length;
    if (buffer.length < end) return undefined;
    this.#chunks = buffer.length === end ? [] : [buffer.subarray(end)];
    this.#bytes -= end;
    if (this.#bytes <= READ_HIGH_BYTES && this.#stream.readStatus === 'paused') this.#stream.resume();
    return buffer.subarray(LENGTH_BYTES, end);
  }

  #join(): Uint8Array {
    const [first] = this.#chunks;
    if (this.#chunks.length === 1 && first !== undefined) return first;
    const joined = Buffer.concat(this.#chunks, this.#bytes);
    this.#chunks = [joined];
    return joined;
  }
}

function ended(cause?: unknown): MoatError<'STREAM_ENDED'> {
  return new MoatError('STREAM_ENDED', 'the other side ended the stream', {
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });
}

function tooLarge(bytes: number): MoatError<'MESSAGE_TOO_LARGE'> {
  return new MoatError('MESSAGE_TOO_LARGE', `a message here has at most ${MAX_MESSAGE_BYTES} bytes`, {
    details: { bytes },
  });
}
