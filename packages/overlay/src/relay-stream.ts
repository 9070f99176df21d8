/**
 * A libp2p stream between an anchor and one of two peers: first relay messages, then raw bytes that are passed
 * on to the other. A side that does not read stops the other: at most {@link HIGH_BYTES} plus two Yamux
 * windows wait here for a direction. libp2p's own relay reads on without looking at the other side.
 */
import { MoatError, type Clock } from '@moat/core';
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';
import { drained } from './drained.ts';
import { readLength, withLength } from './relay-wire.ts';
import { Wakeup } from './wakeup.ts';

/** Bytes that may wait to be passed on before their sender is made to stop. */
const HIGH_BYTES = 256 * 1024;
/** Milliseconds without a byte either way after which a relayed connection ends; its own keepalive is shorter. */
const IDLE_MS = 5 * 60_000;

/** Decides how long bytes from a peer must wait, in milliseconds. */
export type Throttle = (bytes: number) => number;

export class RelayStream {
  readonly stream: Stream;
  readonly #wakeup = new Wakeup();
  #pending: Uint8Array[] = [];
  #ended = false;
  #failure: Error | undefined;

  constructor(stream: Stream) {
    this.stream = stream;
    stream.addEventListener('message', this.#onMessage);
    stream.addEventListener('end', this.#onEnd);
    stream.addEventListener('close', this.#onClose);
  }

  /** The next relay message. @throws `STREAM_ENDED`, `MESSAGE_INVALID`, `MESSAGE_TOO_LARGE`, or the signal's reason. */
  async read(signal: AbortSignal): Promise<Uint8Array> {
    for (;;) {
      const bytes = Buffer.concat(this.#pending);
      const header = readLength(bytes);
      if (header !== undefined && bytes.length >= header.at + header.length) {
        const rest = bytes.subarray(header.at + header.length);
        this.#pending = rest.length > 0 ? [rest] : [];
        return bytes.subarray(header.at, header.at + header.length);
      }
      this.#pending = [bytes];
      if (this.stream.readStatus === 'paused') this.stream.resume();
      if (this.#failure !== undefined || this.#ended)
        throw new MoatError('STREAM_ENDED', 'the stream ended', { cause: this.#failure });
      await this.#wakeup.next(signal);
    }
  }

  write(message: Uint8Array): void {
    this.stream.send(withLength(message));
  }

  /** Stops listening and gives what was read ahead. */
  detach(): Uint8Array {
    this.stream.removeEventListener('message', this.#onMessage);
    this.stream.removeEventListener('end', this.#onEnd);
    this.stream.removeEventListener('close', this.#onClose);
    if (this.stream.readStatus === 'readable') this.stream.pause();
    return Buffer.concat(this.#pending);
  }

  readonly #onMessage = (event: StreamMessageEvent): void => {
    this.#pending.push(event.data instanceof Uint8Array ? event.data : event.data.subarray());
    // what comes after the message waits in the peer's window until it can be passed on
    if (this.stream.readStatus === 'readable') this.stream.pause();
    this.#wakeup.wake();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wakeup.wake();
  };

  readonly #onClose = (event: StreamCloseEvent): void => {
    this.#failure = event.error ?? new Error('closed');
    this.#wakeup.wake();
  };
}

export interface RelaySide {
  readonly from: RelayStream;
  readonly throttle: Throttle;
}

/** Joins two streams until both directions are over; never rejects. */
export async function relay(clock: Clock, a: RelaySide, b: RelaySide): Promise<void> {
  const over = new AbortController();
  const stop = (reason: Error): void => {
    if (!over.signal.aborted) over.abort(reason);
    for (const { stream } of [a.from, b.from]) stream.abort(reason);
  };
  let lastByte = clock.now();
  const onByte = (): void => {
    lastByte = clock.now();
  };
  const idle = (): void => {
    if (clock.now() - lastByte >= IDLE_MS) stop(new Error('idle'));
    else timer = clock.after(IDLE_MS, idle);
  };
  let timer = clock.after(IDLE_MS, idle);
  try {
    await Promise.all([
      pump(clock, a, b.from.stream, over.signal, onByte),
      pump(clock, b, a.from.stream, over.signal, onByte),
    ]);
  } catch (error) {
    stop(error as Error);
  } finally {
    timer.cancel();
  }
}

/** One direction. Resolves after the sender's end was passed on; rejects when either stream breaks. */
async function pump(
  clock: Clock,
  { from, throttle }: RelaySide,
  to: Stream,
  over: AbortSignal,
  onByte: () => void,
): Promise<void> {
  const { stream } = from;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const early = from.detach();
  const wait = async (bytes: number): Promise<void> => {
    const waitMs = throttle(bytes);
    if (waitMs === 0 && to.writeBufferLength <= HIGH_BYTES) return;
    if (stream.readStatus === 'readable') stream.pause();
    if (waitMs > 0) await pauseFor(clock, waitMs, over);
    await drained(to, HIGH_BYTES / 2, over);
    if (stream.readStatus === 'paused') stream.resume();
  };
  const onMessage = (event: StreamMessageEvent): void => {
    onByte();
    const bytes = event.data.byteLength;
    try {
      to.send(event.data);
    } catch (error) {
      return reject(error);
    }
    wait(bytes).catch(reject);
  };
  const onClose = (event: StreamCloseEvent): void => {
    if (event.error !== undefined) reject(event.error);
    else if (stream.readableEnded || stream.readBufferLength === 0) resolve();
  };
  const onEnd = (): void => {
    // a reset says `end` too, before its `close`
    if (stream.status === 'open' || stream.status === 'closing' || stream.status === 'closed') resolve();
  };
  const onOver = (): void => reject(over.reason as Error);
  stream.addEventListener('message', onMessage);
  stream.addEventListener('end', onEnd);
  stream.addEventListener('close', onClose);
  over.addEventListener('abort', onOver);
  try {
    if (stream.status === 'aborted' || stream.status === 'reset') throw new Error('the stream is gone');
    if (early.length > 0) to.send(early);
    if (stream.readableEnded) resolve();
    else if (stream.readStatus === 'paused') stream.resume();
    await promise;
    await to.close({ signal: over });
  } finally {
    stream.removeEventListener('message', onMessage);
    stream.removeEventListener('end', onEnd);
    stream.removeEventListener('close', onClose);
    over.removeEventListener('abort', onOver);
  }
}

/** Waits `ms`, or rejects when the relay is over. */
async function pauseFor(clock: Clock, ms: number, over: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = clock.after(ms, resolve);
  const onOver = (): void => reject(over.reason as Error);
  over.addEventListener('abort', onOver);
  try {
    await promise;
  } finally {
    timer.cancel();
    over.removeEventListener('abort', onOver);
  }
}
