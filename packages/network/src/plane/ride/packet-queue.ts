/** Packets that wait at once, and their bytes. */
const MAX_PACKETS = 64;
const MAX_BYTES = 128 * 1024;

/** Packets that cannot leave yet. Bound: 64 packets, 128 KiB; the oldest are dropped, as WireGuard's own timers go on. */
export class PacketQueue {
  #packets: Uint8Array[] = [];
  #bytes = 0;
  #dropped = 0;

  get isEmpty(): boolean {
    return this.#packets.length === 0;
  }

  /** Since it was made. */
  get dropped(): number {
    return this.#dropped;
  }

  /** `packet` is the queue's from now on. */
  push(packet: Uint8Array): void {
    this.#packets.push(packet);
    this.#bytes += packet.length;
    while (this.#packets.length > MAX_PACKETS || this.#bytes > MAX_BYTES) {
      this.shift();
      this.#dropped += 1;
    }
  }

  shift(): Uint8Array | undefined {
    const packet = this.#packets.shift();
    this.#bytes -= packet?.length ?? 0;
    return packet;
  }

  /** Drops all that wait. */
  clear(): void {
    this.#dropped += this.#packets.length;
    this.#packets = [];
    this.#bytes = 0;
  }
}
