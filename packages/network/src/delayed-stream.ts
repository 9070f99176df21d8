/**
 * A stream that a peer opened, kept until it is decided about: what it brings meanwhile is heard afterwards, in a turn of its
 * own, as if it had come then. The peer gets no credit back meanwhile, so what is kept is bounded by one window of the link.
 */
import type { AcceptHead, FieldList, LinkStream, OpenRequest, PeerId, RequestHead, StreamEvents } from '@moat/core';

export class DelayedStream implements LinkStream {
  readonly #inner: LinkStream;
  #kept: ((events: StreamEvents) => void)[] = [];
  #events: StreamEvents | undefined;
  #isClosed = false;
  /** By who listens; the stream itself stands still until then. */
  #isPaused = false;

  constructor(inner: LinkStream) {
    this.#inner = inner;
    inner.listen({
      onHead: (head) => this.#hear((events) => events.onHead(head)),
      onData: (chunk) => {
        if (this.#events) return this.#events.onData(chunk);
        // Borrowed until this returns.
        const copy = Uint8Array.from(chunk);
        this.#kept.push((events) => events.onData(copy));
      },
      onEnd: (trailers) => this.#hear((events) => events.onEnd(trailers)),
      onDrain: () => this.#hear((events) => events.onDrain()),
      onClose: (code) => {
        this.#isClosed = true;
        this.#hear((events) => events.onClose(code));
      },
    });
    inner.pause();
  }

  /** True when it ended while it waited. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  get request(): OpenRequest {
    return this.#inner.request;
  }

  get peer(): PeerId {
    return this.#inner.peer;
  }

  get requestHead(): RequestHead | undefined {
    return this.#inner.requestHead;
  }

  listen(events: StreamEvents): void {
    queueMicrotask(() => {
      for (let tell = this.#kept.shift(); tell !== undefined; tell = this.#kept.shift()) tell(events);
      this.#events = events;
      if (!this.#isPaused && !this.#isClosed) this.#inner.resume();
    });
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
    // Nothing more is heard of what came before.
    if (!this.#isClosed) this.#kept = [];
    this.#inner.reset(code);
  }

  pause(): void {
    this.#isPaused = true;
    this.#inner.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#events) this.#inner.resume();
  }

  #hear(tell: (events: StreamEvents) => void): void {
    if (this.#events) tell(this.#events);
    else this.#kept.push(tell);
  }
}
