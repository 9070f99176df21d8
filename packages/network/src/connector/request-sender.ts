/**
 * Sends a request that has a body. The head waits for what comes of the body in the same turn: a small request is one
 * write, as it was one read.
 */
import type { Socket } from 'node:net';
import type { LinkStream } from '@moat/core';
import { sendCopies, type Piece } from './send.ts';

/** What waits is no more than this, head and all. */
const MAX_HELD_BYTES = 16 * 1024;

export class RequestSender {
  readonly #socket: Socket;
  readonly #stream: LinkStream;
  #held: Piece[] | undefined;
  #heldBytes: number;

  /** `stream` is paused while the socket takes no more. */
  constructor(socket: Socket, stream: LinkStream, head: Uint8Array) {
    this.#socket = socket;
    this.#stream = stream;
    this.#held = [Buffer.from(head)];
    this.#heldBytes = head.length;
    process.nextTick(flush, this);
  }

  /** `pieces` are borrowed until it returns. */
  write(pieces: readonly Piece[]): void {
    const held = this.#held;
    if (held === undefined) return this.#send(pieces);
    for (const piece of pieces) this.#heldBytes += piece.length;
    if (this.#heldBytes > MAX_HELD_BYTES) {
      this.#held = undefined;
      this.#send([...held, ...pieces]);
    } else {
      for (const piece of pieces) held.push(typeof piece === 'string' ? piece : Buffer.from(piece));
    }
  }

  /** Nothing more comes in this turn. */
  flush(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) this.#send(held);
  }

  #send(pieces: readonly Piece[]): void {
    if (pieces.length === 0 || this.#socket.destroyed) return;
    if (!sendCopies(this.#socket, pieces)) this.#stream.pause();
  }
}

function flush(sender: RequestSender): void {
  sender.flush();
}
