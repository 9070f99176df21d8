/**
 * Links in memory with real credit: `window` bytes may be on the way in each direction, as on a link.
 * The acceptor gets each stream a macrotask later, like over a socket.
 */
import {
  MoatError,
  type AcceptHead,
  type Arrival,
  type FieldList,
  type Link,
  type Links,
  type LinkStream,
  type OpenRequest,
  type PeerId,
  type RequestHead,
  type StreamAcceptor,
  type StreamEvents,
} from '@moat/core';

const WINDOW = 256 * 1024;

type Item = { readonly chunk: Uint8Array } | { readonly end: FieldList } | { readonly head: AcceptHead };

/** One end of a stream; `other` is set by {@link streamPair}. */
class End implements LinkStream {
  readonly request: OpenRequest;
  readonly peer: PeerId;
  readonly requestHead: RequestHead | undefined;
  readonly arrival: Arrival | undefined;
  other!: End;
  /** Bytes written here that the other side has not taken. */
  inFlight = 0;
  highest = 0;
  readonly #inbox: Item[] = [];
  #events: StreamEvents | undefined;
  #paused = false;
  #wrote = false;
  #ended = false;
  #otherEnded = false;
  #closed = false;
  #blocked = false;

  constructor(request: OpenRequest, peer: PeerId, requestHead: RequestHead | undefined, arrival?: Arrival) {
    this.arrival = arrival;
    this.request = request;
    this.peer = peer;
    this.requestHead = requestHead;
  }

  get closed(): boolean {
    return this.#closed;
  }

  listen(events: StreamEvents): void {
    this.#events = events;
    this.#later();
  }

  writeHead(head: AcceptHead): void {
    this.other.#take({ head });
  }

  write(chunk: Uint8Array): boolean {
    if (this.#closed || this.#ended) return true;
    if (this.#blocked) throw new Error('wrote without credit');
    this.#wrote = true;
    this.inFlight += chunk.length;
    this.highest = Math.max(this.highest, this.inFlight);
    this.other.#take({ chunk: Uint8Array.from(chunk) });
    this.#blocked = this.inFlight >= WINDOW;
    return !this.#blocked;
  }

  end(trailers: FieldList = []): void {
    if (this.#ended || this.#closed) return;
    this.#ended = true;
    this.other.#take({ end: trailers });
  }

  reset(code: string): void {
    if (this.#closed) return;
    this.#close(code);
    setImmediate(() => this.other.#close(code));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#later();
  }

  get wrote(): boolean {
    return this.#wrote;
  }

  #take(item: Item): void {
    if (this.#closed) return;
    this.#inbox.push(item);
    this.#later();
  }

  #later(): void {
    setImmediate(() => this.#deliver());
  }

  #deliver(): void {
    while (!this.#closed && !this.#paused && this.#events) {
      const item = this.#inbox.shift();
      if (!item) break;
      if ('head' in item) this.#events.onHead(item.head);
      else if ('chunk' in item) {
        this.#events.onData(item.chunk);
        this.other.#credit(item.chunk.length);
      } else {
        this.#otherEnded = true;
        this.#events.onEnd(item.end);
      }
    }
    if (this.#ended && this.#otherEnded && this.other.#otherEnded) {
      this.#close(undefined);
      this.other.#close(undefined);
    }
  }

  #credit(bytes: number): void {
    this.inFlight -= bytes;
    if (!this.#blocked || this.inFlight > WINDOW / 2) return;
    this.#blocked = false;
    setImmediate(() => {
      if (!this.#closed) this.#events?.onDrain();
    });
  }

  #close(code: string | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events?.onClose(code);
  }
}

export interface MemoryLink extends Link {
  readonly streams: readonly LinkStream[];
}

/** Links of a gateway to members that answer with the acceptor given for them. */
export class MemoryLinks implements Links {
  readonly #links = new Map<PeerId, Link>();
  readonly #listeners = new Set<(link: Link) => void>();
  /** Highest number of unread bytes any stream has had, in either direction. */
  highest = 0;
  opened = 0;
  live = 0;

  add(peer: PeerId, accept: StreamAcceptor): Link {
    const ending = new AbortController();
    const streams = new Set<End>();
    const link: Link = {
      peer,
      path: 'direct',
      get openStreams() {
        return streams.size;
      },
      rttMs: 1,
      open: (request, head, arrival) => {
        if (ending.signal.aborted) throw new MoatError('LINK_CLOSED', 'the link is closed');
        const near = new End(request, peer, undefined);
        const far = new End(request, 'gateway', head, arrival);
        near.other = far;
        far.other = near;
        streams.add(near);
        this.opened += 1;
        this.live += 1;
        const note = (): void => {
          this.highest = Math.max(this.highest, near.highest, far.highest);
          if (near.closed && streams.delete(near)) this.live -= 1;
          else if (!near.closed) setImmediate(note);
        };
        setImmediate(note);
        setImmediate(() => accept(far));
        return near;
      },
      ping: () => Promise.resolve(1),
      close: (code) => {
        this.#links.delete(peer);
        for (const stream of streams) stream.other.reset(code ?? 'LINK_CLOSED');
        ending.abort();
      },
      closed: ending.signal,
    };
    this.#links.set(peer, link);
    for (const listener of this.#listeners) listener(link);
    return link;
  }

  /** Puts another link in the place of the peer's. */
  replace(peer: PeerId, link: Link): void {
    this.#links.set(peer, link);
  }

  get(peer: PeerId): Link | undefined {
    return this.#links.get(peer);
  }

  list(): readonly Link[] {
    return [...this.#links.values()];
  }

  connect(peer: PeerId): Promise<Link> {
    const link = this.#links.get(peer);
    return link ? Promise.resolve(link) : Promise.reject(new MoatError('PEER_UNREACHABLE', 'not connected'));
  }

  onLink(listener: (link: Link) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
