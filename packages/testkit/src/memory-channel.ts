/** The memory twin of the ByteChannel port. */
import type { ByteChannel } from '@moat/core';

export interface MemoryChannelOptions {
  /** Bytes that may wait before `write` says stop. @defaultValue 262144 */
  readonly highWaterBytes?: number;
  /** Delivers in pieces of at most this many bytes, to shake decoders. @defaultValue unlimited */
  readonly pieceBytes?: number;
}

/** Two ends of one channel, and ways to break it. */
export interface MemoryChannelPair {
  readonly a: ByteChannel;
  readonly b: ByteChannel;
  /** From now on nothing arrives and nobody is told: a host that vanished. */
  sever(): void;
}

/** Delivery is never in the writer's own turn. Bound: none for a writer that ignores `false`, as on a socket. */
export function createChannelPair(options: MemoryChannelOptions = {}): MemoryChannelPair {
  const a = new MemoryChannel(options);
  const b = new MemoryChannel(options);
  a.join(b);
  b.join(a);
  return {
    a,
    b,
    sever() {
      a.severed = true;
      b.severed = true;
    },
  };
}

class MemoryChannel implements ByteChannel {
  onData: (chunk: Uint8Array) => void = () => undefined;
  onDrain: () => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error?: Error) => void = () => undefined;
  severed = false;
  readonly #highWaterBytes: number;
  readonly #pieceBytes: number;
  /** The other end; itself until joined. */
  #peer: MemoryChannel = this;
  #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #scheduled = false;
  #paused = false;
  #needsDrain = false;
  #ended = false;
  #toldEnd = false;
  #closed = false;

  constructor(options: MemoryChannelOptions) {
    this.#highWaterBytes = options.highWaterBytes ?? 256 * 1024;
    this.#pieceBytes = options.pieceBytes ?? Number.POSITIVE_INFINITY;
  }

  join(peer: MemoryChannel): void {
    this.#peer = peer;
  }

  get bufferedBytes(): number {
    return this.#peer.#inboxBytes;
  }

  write(chunk: Uint8Array): boolean {
    const peer = this.#peer;
    if (this.#closed || this.#ended) return false;
    peer.#inbox.push(chunk);
    peer.#inboxBytes += chunk.length;
    peer.#schedule();
    if (peer.#inboxBytes < this.#highWaterBytes) return true;
    this.#needsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  end(): void {
    if (this.#ended || this.#closed) return;
    this.#ended = true;
    this.#peer.#schedule();
    this.#schedule();
  }

  destroy(error?: Error): void {
    this.#close(error);
    const peer = this.#peer;
    if (!this.severed) setImmediate(() => peer.#close(error && new Error('reset by peer')));
  }

  #close(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#inbox = [];
    this.#inboxBytes = 0;
    setImmediate(() => this.onClose(error));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.severed) this.#deliver();
    });
  }

  #deliver(): void {
    const peer = this.#peer;
    while (!this.#paused && !this.#closed) {
      const chunk = this.#inbox.shift();
      if (chunk === undefined) break;
      this.#inboxBytes -= chunk.length;
      for (let at = 0; at < chunk.length; at += this.#pieceBytes) {
        this.onData(chunk.subarray(at, Math.min(chunk.length, at + this.#pieceBytes)));
      }
    }
    if (this.#closed) return;
    if (peer.#needsDrain && this.#inboxBytes < peer.#highWaterBytes / 2) {
      peer.#needsDrain = false;
      setImmediate(() => {
        if (!peer.#closed) peer.onDrain();
      });
    }
    if (peer.#ended && !this.#toldEnd && this.#inbox.length === 0 && !this.#paused) {
      this.#toldEnd = true;
      this.onEnd();
    }
    if (this.#toldEnd && this.#ended) this.#close(undefined);
  }
}
