/** A stream whose request comes with another head: what a member knows of a visitor in place of a gateway's word. */
import type { AcceptHead, FieldList, LinkStream, OpenRequest, PeerId, RequestHead, StreamEvents } from '@moat/core';

export class IntroducedStream implements LinkStream {
  readonly requestHead: RequestHead;
  readonly #inner: LinkStream;

  constructor(inner: LinkStream, head: RequestHead) {
    this.#inner = inner;
    this.requestHead = head;
  }

  get request(): OpenRequest {
    return this.#inner.request;
  }

  get peer(): PeerId {
    return this.#inner.peer;
  }

  listen(events: StreamEvents): void {
    this.#inner.listen(events);
  }

  writeHead(head: AcceptHead): void {
    this.#inner.writeHead(head);
  }

  write(chunk: Uint8Array): boolean {
    return this.#inner.write(chunk);
  }

  end(trailers?: FieldList): void {
    this.#inner.end(trailers);
  }

  reset(code: string): void {
    this.#inner.reset(code);
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }
}
