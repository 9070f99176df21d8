/**
 * Buffers that are used again: what a link lends is copied before it can wait for a slow client, and a copy a chunk
 * would be garbage at the rate of the download. A download of 1 GiB makes the process 25 MiB larger without this.
 * Bound: {@link MAX_FREE} buffers of {@link BUFFER_BYTES} wait for use; more are left to the collector.
 */
/** A link's largest chunk, and the framing around it. */
const BUFFER_BYTES = 66 * 1_024;
const MAX_FREE = 64;
/** Smaller copies come from Node's own slab. */
const MIN_POOLED_BYTES = 2 * 1_024;

const free: Buffer[] = [];

/** A copy of `chunk`, and the way to give it back once nothing refers to it any more. */
export interface PooledCopy {
  readonly bytes: Buffer;
  readonly release: (() => void) | undefined;
}

/** `before`, `chunk` and `after` in one buffer; the texts are latin1. */
export function copyOf(chunk: Uint8Array, before: string, after: string): PooledCopy {
  const length = before.length + chunk.length + after.length;
  const isPooled = length >= MIN_POOLED_BYTES && length <= BUFFER_BYTES;
  const buffer = isPooled ? (free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES)) : Buffer.allocUnsafe(length);
  if (before !== '') buffer.write(before, 0, 'latin1');
  buffer.set(chunk, before.length);
  if (after !== '') buffer.write(after, before.length + chunk.length, 'latin1');
  if (!isPooled) return { bytes: buffer, release: undefined };
  return {
    bytes: buffer.subarray(0, length),
    release: () => {
      if (free.length < MAX_FREE) free.push(buffer);
    },
  };
}
