/**
 * A stream between its opening and its use: waits for the acceptor's head, keeps what arrives early, and
 * can be ended from outside at any time. The peer gets no credit back meanwhile, so what is kept is
 * bounded by one window of the link.
 */
import type { AcceptHead, FieldList, LinkStream, OpenRequest, PeerId, RequestHead, StreamEvents } from '@moat/core';

type Kept = { readonly data: Uint8Array } | { readonly trailers: FieldList } | { readonly head: AcceptHead };

export interface HeldStreamDeps {
  /** Called once: the first head, or undefined with the code of a stream that closed before it. */
  onAnswer(head: AcceptHead | undefined, code: string): void;
  /** Called once, after the user's own `onClose`. */
  onClosed(): void;
}

export class HeldStream implements LinkStream {
  readonly #inner: LinkStream;
  readonly #deps: HeldStreamDeps;
  #kept: Kept[] = [];
  #events: StreamEvents | undefined;
  #answered = false;
  #closed: { readonly code: string | undefined } | undefined;

  constructor(inner: LinkStream, deps: HeldStreamDeps) {
    this.#inner = inner;
    this.#deps = deps;
    inner.listen({
      onHead: (head) => this.#onHead(head),
      // Borrowed until this returns, so what is kept is a copy.
      onData: (chunk) =>
        this.#events ? this.#events.onData(chunk) : this.#kept.push({ data: Uint8Array.from(chunk) }),
      onEnd: (trailers) => (this.#events ? this.#events.onEnd(trailers) : this.#kept.push({ trailers })),
      onDrain: () => this.#events?.onDrain(),
      onClose: (code) => this.#onClose(code),
    });
    inner.pause();
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

  /** Replays what was kept, before it returns, then lets the stream run. The answered head is not replayed. */
  listen(events: StreamEvents): void {
    const kept = this.#kept;
    this.#kept = [];
    this.#events = events;
    this.#inner.resume();
    for (const item of kept) {
      if ('data' in item) events.onData(item.data);
      else if ('head' in item) events.onHead(item.head);
      else events.onEnd(item.trailers);
    }
    if (this.#closed) events.onClose(this.#closed.code);
  }

  writeHead(head: AcceptHead): void {
    this.#inner.writeHead(head);
  }

  write(chunk: Uint8Array): boolean {
    return this.#closed ? true : this.#inner.write(chunk);
  }

  end(trailers?: FieldList): void {
    if (!this.#closed) this.#inner.end(trailers);
  }

  reset(code: string): void {
    if (!this.#closed) this.#inner.reset(code);
    this.#onClose(code);
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  #onHead(head: AcceptHead): void {
    if (!this.#answered) {
      this.#answered = true;
      this.#deps.onAnswer(head, '');
    } else if (this.#events) {
      this.#events.onHead(head);
    } else {
      this.#kept.push({ head });
    }
  }

  #onClose(code: string | undefined): void {
    if (this.#closed) return;
    this.#closed = { code };
    if (!this.#answered) {
      this.#answered = true;
      this.#deps.onAnswer(undefined, code ?? 'LINK_CLOSED');
    }
    this.#events?.onClose(code);
    this.#deps.onClosed();
  }
}
