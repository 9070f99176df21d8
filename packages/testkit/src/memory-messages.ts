import { MoatError } from '@moat/core';
import type { MessageStream, PeerConnection } from '@moat/core';

/** Bytes of one message, as on the real control plane. */
const MAX_MESSAGE_BYTES = 64 * 1024;
/** Messages that wait unread; a writer waits until there is room. */
const MAX_WAITING = 64;

/** Two ends of one message stream. */
export function createMessagePair(
  a: PeerConnection,
  b: PeerConnection,
): { readonly a: MemoryMessageStream; readonly b: MemoryMessageStream } {
  const left = new MemoryMessageStream(a);
  const right = new MemoryMessageStream(b);
  left.join(right);
  right.join(left);
  return { a: left, b: right };
}

/** One end; messages are copied. */
export class MemoryMessageStream implements MessageStream {
  readonly connection: PeerConnection;
  /** Called once when this end is of no more use. */
  onFinished: () => void = () => undefined;
  /** The other end; itself until joined. */
  #peer: MemoryMessageStream = this;
  #inbox: Uint8Array[] = [];
  #wakers = new Set<() => void>();
  #ended = false;
  #failure: Error | undefined;
  #finished = false;

  constructor(connection: PeerConnection) {
    this.connection = connection;
    const gone = (): void => this.fail(ended('the connection closed'));
    if (connection.closed.aborted) gone();
    else connection.closed.addEventListener('abort', gone, { once: true });
  }

  join(peer: MemoryMessageStream): void {
    this.#peer = peer;
  }

  async read(signal: AbortSignal): Promise<Uint8Array> {
    for (;;) {
      const message = this.#inbox.shift();
      if (message !== undefined) {
        this.#wake();
        return message;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#peer.#ended) throw ended('the peer sends no more');
      await this.#change(signal);
    }
  }

  async write(message: Uint8Array, signal: AbortSignal): Promise<void> {
    if (message.length > MAX_MESSAGE_BYTES) throw new MoatError('MESSAGE_TOO_LARGE', 'a message has at most 64 KiB');
    const copy = Uint8Array.from(message);
    for (;;) {
      signal.throwIfAborted();
      const peer = this.#peer;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) throw ended('this side has ended');
      if (peer.#inbox.length < MAX_WAITING) {
        peer.#inbox.push(copy);
        return peer.#wake();
      }
      await peer.#change(signal);
    }
  }

  close(): Promise<void> {
    this.#ended = true;
    this.#peer.#wake();
    if (this.#peer.#ended) {
      this.#finish();
      this.#peer.#finish();
    }
    return Promise.resolve();
  }

  abort(reason: Error): void {
    this.fail(reason);
    this.#peer.fail(ended('reset by the peer'));
  }

  fail(reason: Error): void {
    this.#failure ??= reason;
    this.#wake();
    this.#finish();
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.onFinished();
  }

  /** Wakes in a later turn, as a network would. */
  #wake(): void {
    const wakers = [...this.#wakers];
    this.#wakers.clear();
    setImmediate(() => {
      for (const waker of wakers) waker();
    });
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const onAbort = (): void => {
        this.#wakers.delete(waker);
        reject(signal.reason as Error);
      };
      const waker = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      this.#wakers.add(waker);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}

function ended(why: string): MoatError {
  return new MoatError('STREAM_ENDED', why);
}
