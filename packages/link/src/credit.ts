/**
 * Credit, per stream and per link: how many bytes of data a side may still send.
 *
 * A stream begins with 128 KiB and doubles up to 4 MiB while its reader keeps up; a paused reader gives nothing back,
 * so its peer stops within one window. A link carries at most 16 MiB (1 MiB over the overlay) of data on its way.
 */
import { frameError } from './frame.ts';

/** Bytes that each direction of a new stream may carry at once. */
export const FIRST_STREAM_WINDOW_BYTES: number = 128 * 1024;
/** Bytes that a window grows to. */
export const MAX_STREAM_WINDOW_BYTES: number = 4 * 1024 * 1024;
/** The same of a stream of packets: 20 Mbit/s at 100 ms, and at most 2 s of queue in front of a line of 1 Mbit/s. */
export const PACKETS_WINDOW_BYTES: number = 256 * 1024;
/** Bytes that a window shrinks to while readers hold too much together. */
export const LEAST_STREAM_WINDOW_BYTES: number = 16 * 1024;
const MAX_CREDIT_BYTES = 2 ** 31 - 1;

/** What we may still send. */
export class SendCredit {
  #available: number;

  constructor(bytes: number) {
    this.#available = bytes;
  }

  get available(): number {
    return this.#available;
  }

  take(bytes: number): void {
    this.#available -= bytes;
  }

  /** @throws `FRAME_INVALID` when the peer gives nothing, or more than 2 GiB in all. */
  give(bytes: number): void {
    if (bytes === 0 || this.#available + bytes > MAX_CREDIT_BYTES) {
      throw frameError('FRAME_INVALID', 'impossible credit', { bytes });
    }
    this.#available += bytes;
  }
}

/** What the peer may still send to us. */
export class ReceiveWindow {
  #size: number;
  #left: number;

  constructor(bytes: number) {
    this.#size = bytes;
    this.#left = bytes;
  }

  /** @throws `CREDIT_EXCEEDED` when the peer had no credit for these bytes. */
  receive(bytes: number): void {
    this.#left -= bytes;
    if (this.#left < 0) throw frameError('CREDIT_EXCEEDED', 'the peer sent more than its credit', { bytes });
  }

  /** Doubles the window up to `limit`: its reader keeps up. */
  grow(limit: number): void {
    this.#size = Math.min(limit, this.#size * 2);
  }

  /** Back to `bytes`: memory is short. Credit already given is not taken back. */
  shrink(bytes: number): void {
    this.#size = Math.min(this.#size, bytes);
  }

  /** Another size from now on. Credit already given is not taken back. */
  resize(bytes: number): void {
    this.#size = bytes;
  }

  /** True when half of the window is used: fewer window frames cost latency, more cost bytes. */
  get due(): boolean {
    return this.#size - this.#left >= this.#size / 2;
  }

  /** The credit that fills the window up, 0 when it is full; the caller sends it. */
  giveBack(): number {
    const bytes = Math.max(0, this.#size - this.#left);
    this.#left += bytes;
    return bytes;
  }
}
