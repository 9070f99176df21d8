/**
 * A full-duplex byte channel between two peers: the port under a link.
 * Implementations: TLS socket and memory (link), one libp2p stream (overlay).
 * Handlers are set once by the owner, in the same turn in which it gets the channel.
 */
export interface ByteChannel {
  /**
   * Queues `chunk`, which is the channel's from now on; false = wait for `onDrain` before writing more.
   * `onTaken` is called once neither `chunk` nor any before is needed any more; never where a channel cannot tell.
   */
  write(chunk: Uint8Array, onTaken?: () => void): boolean;
  /** Bytes accepted by `write` and not yet given to the network. */
  readonly bufferedBytes: number;
  /** `chunk` is borrowed until the call returns. */
  onData: (chunk: Uint8Array) => void;
  onDrain: () => void;
  /** The other side sends no more. */
  onEnd: () => void;
  /** Called exactly once, last. */
  onClose: (error?: Error) => void;
  pause(): void;
  resume(): void;
  /** Sends what is queued, then the end of our direction. */
  end(): void;
  /** Ends both directions now. */
  destroy(error?: Error): void;
}
