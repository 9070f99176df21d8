/** One use of a member by an exchange. */
import type { AcceptHead, FieldList, LinkStream, PeerId, StreamEvents } from '@moat/core';

/** What an exchange learns of the attempt that counts. */
export interface AttemptOwner {
  onAnswerHead(head: AcceptHead): void;
  /** `chunk` is borrowed until the call returns. */
  onAnswerData(chunk: Uint8Array): void;
  onAnswerEnd(trailers: FieldList): void;
  /** The stream takes more of the request. */
  onStreamDrain(): void;
  onStreamClose(code: string | undefined): void;
}

/** Hears its stream until it is let go. One object, not a closure for each event: every request makes one. */
export class Attempt implements StreamEvents {
  readonly peer: PeerId;
  readonly stream: LinkStream;
  #owner: AttemptOwner | undefined;

  constructor(peer: PeerId, stream: LinkStream, owner: AttemptOwner) {
    this.peer = peer;
    this.stream = stream;
    this.#owner = owner;
  }

  /** What still comes of it is ignored. */
  abandon(): void {
    this.#owner = undefined;
  }

  onHead(head: AcceptHead): void {
    this.#owner?.onAnswerHead(head);
  }

  onData(chunk: Uint8Array): void {
    this.#owner?.onAnswerData(chunk);
  }

  onEnd(trailers: FieldList): void {
    this.#owner?.onAnswerEnd(trailers);
  }

  onDrain(): void {
    this.#owner?.onStreamDrain();
  }

  onClose(code?: string): void {
    this.#owner?.onStreamClose(code);
  }
}
