/**
 * Buffers that are used again: what a link lends is copied before it can wait for a slow client, and a copy a chunk
 * would be garbage at the rate of the download. A download of 1 GiB makes the process 25 MiB larger without this.
 * Bound: {@link MAX_FREE} buffers of {@link CHUNK_BYTES} wait for use; more are left to the collector.
 */
const CHUNK_BYTES = 64 * 1_024;
const MAX_FREE = 64;
/** Smaller copies come from Node's own slab. */
const MIN_POOLED_BYTES = 2 * 1_024;

const free: Buffer[] = [];

/** A copy of `chunk`, and the way to give it back once nothing refers to it any more. */
export interface PooledCopy {
  readonly bytes: Buffer;
  readonly release: (() => void) | undefined;
}

export function copyOf(chunk: Uint8Array): PooledCopy {
  if (chunk.length < MIN_POOLED_BYTES || chunk.length > CHUNK_BYTES)
    return { bytes: Buffer.from(chunk), release: undefined };
  const buffer = free.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
  buffer.set(chunk);
  return {
    bytes: buffer.subarray(0, chunk.length),
    release: () => {
      if (free.length < MAX_FREE) free.push(buffer);
    },
  };
}
