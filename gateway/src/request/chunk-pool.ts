/**
 * Buffers that are used again: what a link lends is copied before it can wait for a slow client, and a copy a chunk
 * would be garbage at the rate of the download. A download of 1 GiB makes the process 25 MiB larger without this.
 * Bound: {@link MAX_FREE} buffers of each size wait for use; more are left to the collector.
 */
/** A link's largest chunk, and the framing around it. */
export const BUFFER_BYTES: number = 66 * 1_024;
const SMALL_BYTES = 4 * 1_024;
const MAX_FREE = 256;

const free: Buffer[] = [];
const freeSmall: Buffer[] = [];

/** A copy of `chunk`, and the way to give it back once nothing refers to it any more. */
export interface PooledCopy {
  readonly bytes: Buffer;
  readonly release: (() => void) | undefined;
}

/** A buffer of {@link BUFFER_BYTES}; its contents are anybody's. */
export function borrow(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
}

/** Nothing refers to `part` of a borrowed buffer, or to the rest of it, any more. */
export function giveBack(part: Buffer): void {
  if (free.length < MAX_FREE) free.push(Buffer.from(part.buffer));
}

/** `before`, as latin1, and `chunk` in one buffer. */
export function copyOf(chunk: Uint8Array, before: string): PooledCopy {
  const length = before.length + chunk.length;
  if (length > BUFFER_BYTES)
    return { bytes: filled(Buffer.allocUnsafeSlow(length), before, chunk), release: undefined };
  const isSmall = length <= SMALL_BYTES;
  const whole = isSmall ? (freeSmall.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES)) : borrow();
  const pool = isSmall ? freeSmall : free;
  const release = (): void => {
    if (pool.length < MAX_FREE) pool.push(whole);
  };
  return { bytes: filled(whole, before, chunk).subarray(0, length), release };
}

function filled(buffer: Buffer, before: string, chunk: Uint8Array): Buffer {
  if (before !== '') buffer.write(before, 0, 'latin1');
  buffer.set(chunk, before.length);
  return buffer;
}
