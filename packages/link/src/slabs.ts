/** Bytes of a slab: what several TLS records, or many small frames, share. */
export const SLAB_BYTES: number = 64 * 1024;
/** Slabs that wait for use, 16 MiB: what one link that can move keeps at most; more are left to the collector. */
const MAX_FREE = 256;

const free: Buffer[] = [];

/**
 * A buffer of {@link SLAB_BYTES}, used again where it can be: one each 64 KiB would be memory outside of the heap at
 * the rate of a download, which makes V8 collect the whole heap every 13 MB (measured: half of a node's time).
 */
export function takeSlab(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
}

/** Gives a slab back that nothing refers to any more. */
export function giveSlab(slab: Buffer): void {
  if (slab.length === SLAB_BYTES && free.length < MAX_FREE) free.push(slab);
}
