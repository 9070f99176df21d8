import { MoatError } from '@moat/core';

/** What UDP over IPv4 carries at most. */
export const MAX_PACKET_BYTES = 65_507;
/** Before each packet: its bytes, big endian. */
export const LENGTH_BYTES = 2;

/** Takes a stream apart into packets: u16 length, then so many bytes. Bound: one packet is assembled at a time. */
export class PacketReader {
  readonly #onPacket: (packet: Uint8Array) => void;
  /** The beginning of a length or packet whose rest has not come. */
  #kept: Buffer | undefined;
  #keptBytes = 0;

  /** `onPacket` has each packet, borrowed until it returns. */
  constructor(onPacket: (packet: Uint8Array) => void) {
    this.#onPacket = onPacket;
  }

  /** @throws `PACKETS_INVALID` for a length of 0 or above {@link MAX_PACKET_BYTES}; no further push is allowed then. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#kept === undefined && this.#isWhole(chunk, at)) {
        const end = at + LENGTH_BYTES + lengthAt(chunk, at);
        this.#onPacket(chunk.subarray(at + LENGTH_BYTES, end));
        at = end;
      } else at += this.#keep(chunk, at);
    }
  }

  #isWhole(chunk: Uint8Array, at: number): boolean {
    const rest = chunk.length - at;
    return rest > LENGTH_BYTES && rest >= LENGTH_BYTES + lengthAt(chunk, at);
  }

  /** Returns the bytes used. */
  #keep(chunk: Uint8Array, at: number): number {
    const kept = (this.#kept ??= Buffer.allocUnsafe(LENGTH_BYTES));
    const taken = Math.min(kept.length - this.#keptBytes, chunk.length - at);
    kept.set(chunk.subarray(at, at + taken), this.#keptBytes);
    this.#keptBytes += taken;
    if (this.#keptBytes < kept.length) return taken;
    if (kept.length === LENGTH_BYTES) {
      this.#kept = Buffer.allocUnsafe(LENGTH_BYTES + lengthAt(kept, 0));
      this.#kept.set(kept);
      return taken;
    }
    this.#kept = undefined;
    this.#keptBytes = 0;
    this.#onPacket(kept.subarray(LENGTH_BYTES));
    return taken;
  }
}

function lengthAt(bytes: Uint8Array, at: number): number {
  const length = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  if (length === 0 || length > MAX_PACKET_BYTES) {
    throw new MoatError('PACKETS_INVALID', 'a packet of an impossible length', { details: { length } });
  }
  return length;
}
