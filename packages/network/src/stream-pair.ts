/**
 * A stream whose two ends are in this process: the way from this member to a service it offers itself,
 * and the memory twin of a link's stream in tests. Same rules as the port in @moat/core: credit, half-close,
 * one `onClose`, events never inside the call that causes them.
 */
import {
  MoatError,
  type AcceptHead,
  type FieldList,
  type LinkStream,
  type OpenRequest,
  type PeerId,
  type RequestHead,
  type StreamEvents,
} from '@moat/core';

type Item = { readonly data: Uint8Array } | { readonly head: AcceptHead } | { readonly trailers: FieldList };

export interface StreamPairOptions {
  readonly request: OpenRequest;
  readonly requestHead?: RequestHead;
  /** PeerId that the acceptor sees. */
  readonly opener: PeerId;
  /** PeerId that the opener sees. */
  readonly acceptor: PeerId;
  /** Credit each way in bytes. @defaultValue 262144 */
  readonly windowBytes?: number;
}

/** Memory: at most one window each way, plus the chunk whose `write` returned false. */
export function createStreamPair(options: StreamPairOptions): {
  readonly opened: LinkStream;
  readonly accepted: LinkStream;
} {
  const windowBytes = options.windowBytes ?? 256 * 1024;
  const opened = new PairEnd(options.request, options.acceptor, undefined, windowBytes, true);
  const accepted = new PairEnd(options.request, options.opener, options.requestHead, windowBytes, false);
  opened.other = accepted;
  accepted.other = opened;
  return { opened, accepted };
}

class PairEnd implements LinkStream {
  readonly request: OpenRequest;
  readonly peer: PeerId;
  readonly requestHead: RequestHead | undefined;
  other!: PairEnd;
  /** What waits to be delivered to us. */
  readonly #incoming: Item[] = [];
  #events: StreamEvents | undefined;
  #scheduled = false;
  /** Bytes we may still send. */
  #credit: number;
  /** Bytes delivered to us whose credit the peer waits for. */
  #owedBytes = 0;
  #paused = false;
  #wantsDrain = false;
  /** The acceptor's final head was written; openers have none to write. */
  #answered: boolean;
  #sentEnd = false;
  #gotEnd = false;
  #closed = false;

  constructor(
    request: OpenRequest,
    peer: PeerId,
    requestHead: RequestHead | undefined,
    windowBytes: number,
    opener: boolean,
  ) {
    this.request = request;
    this.peer = peer;
    this.requestHead = requestHead;
    this.#credit = windowBytes;
    this.#answered = opener;
  }

  listen(events: StreamEvents): void {
    this.#events = events;
    this.#schedule();
  }

  writeHead(head: AcceptHead): void {
    if (this.#closed || this.#sentEnd) return;
    this.#answered ||= 'connected' in head || head.status >= 200 || head.status === 101;
    this.other.#receive({ head });
  }

  write(chunk: Uint8Array): boolean {
    if (this.#closed || this.#sentEnd) return false;
    this.#requireHead();
    this.#credit -= chunk.length;
    this.other.#receive({ data: Uint8Array.from(chunk) });
    if (this.#credit > 0) return true;
    this.#wantsDrain = true;
    return false;
  }

  end(trailers: FieldList = []): void {
    if (this.#closed || this.#sentEnd) return;
    this.#requireHead();
    this.#sentEnd = true;
    this.other.#receive({ trailers });
    if (this.#gotEnd) this.#closeNow();
  }

  reset(code: string): void {
    if (this.#closed) return;
    this.other.#close(code);
    this.#closeNow(code);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#repay();
  }

  #requireHead(): void {
    if (!this.#answered) throw new MoatError('HEAD_MISSING', 'the accepting side writes its head first');
  }

  #receive(item: Item): void {
    this.#incoming.push(item);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed || !this.#events) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const events = this.#events;
    if (!events) return;
    while (!this.#closed) {
      const item = this.#incoming.shift();
      if (!item) break;
      if ('head' in item) {
        events.onHead(item.head);
      } else if ('data' in item) {
        this.#owedBytes += item.data.length;
        events.onData(item.data);
        this.#repay();
      } else {
        this.#gotEnd = true;
        events.onEnd(item.trailers);
      }
    }
    if (this.#closed) return;
    if (this.#wantsDrain && this.#credit > 0) {
      this.#wantsDrain = false;
      events.onDrain();
    }
    if (this.#sentEnd && this.#gotEnd) this.#closeNow();
  }

  #repay(): void {
    if (this.#paused || this.#owedBytes === 0) return;
    this.other.#credit += this.#owedBytes;
    this.#owedBytes = 0;
    if (this.other.#wantsDrain) this.other.#schedule();
  }

  #close(code?: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#incoming.length = 0;
    setImmediate(() => this.#events?.onClose(code));
  }

  #closeNow(code?: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#incoming.length = 0;
    this.#events?.onClose(code);
  }
}
