/** Which peer has a link with which worker: what the control process of a gateway knows of links that it does not carry. */
import { MoatError } from '@moat/core';
import type { Link, LinkPath, PeerId } from '@moat/core';

/** What is known of a link from its beginning. */
type LinkFacts = Pick<WorkerLink, 'peer' | 'path' | 'worker' | 'piped' | 'since'>;

/** A link that a worker carries, seen from the control process. */
export class WorkerLink implements Link {
  readonly peer: PeerId;
  readonly path: LinkPath;
  readonly worker: number;
  /** True where its bytes pass through the control process. */
  readonly piped: boolean;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** As the worker said last. */
  openStreams = 0;
  readonly rttMs: undefined = undefined;
  readonly #closing = new AbortController();
  readonly closed: AbortSignal = this.#closing.signal;
  readonly #close: (code: string | undefined) => void;

  constructor({ peer, path, worker, piped, since }: LinkFacts, close: (code: string | undefined) => void) {
    this.peer = peer;
    this.path = path;
    this.worker = worker;
    this.piped = piped;
    this.since = since;
    this.#close = close;
  }

  /** @throws `LINK_CLOSED` always: streams are opened where the link is. */
  open(): never {
    throw new MoatError('LINK_CLOSED', 'a worker carries this link', { details: { peer: this.peer } });
  }

  ping(): Promise<number> {
    return Promise.reject(new MoatError('LINK_CLOSED', 'a worker carries this link', { details: { peer: this.peer } }));
  }

  close(code?: string): void {
    this.#close(code);
  }

  /** It is over there. */
  ended(): void {
    this.#closing.abort(new MoatError('LINK_CLOSED', 'the link is over', { retryable: true }));
  }
}

/** Bound: what the workers hold, a link or two a peer each. */
export class WorkerTable {
  /** By worker, then by the number that the worker gave the link. */
  readonly #links = new Map<number, Map<number, WorkerLink>>();
  /** The same by peer, oldest first; those without any are absent. */
  readonly #ofPeer = new Map<PeerId, Set<WorkerLink>>();
  readonly #listeners = new Set<(link: WorkerLink) => void>();

  /** Workers that take links. */
  workers(): readonly number[] {
    return [...this.#links.keys()];
  }

  hasWorker(worker: number): boolean {
    return this.#links.has(worker);
  }

  addWorker(worker: number): void {
    if (!this.#links.has(worker)) this.#links.set(worker, new Map());
  }

  /** The worker is gone, or takes no more; its links with it. */
  removeWorker(worker: number): readonly WorkerLink[] {
    const links = [...(this.#links.get(worker)?.values() ?? [])];
    this.#links.delete(worker);
    for (const link of links) this.#end(link);
    return links;
  }

  /** Nothing, where the worker takes no more. */
  add(number: number, link: WorkerLink): void {
    const links = this.#links.get(link.worker);
    if (links === undefined) return;
    links.set(number, link);
    const ofPeer = this.#ofPeer.get(link.peer);
    if (ofPeer === undefined) this.#ofPeer.set(link.peer, new Set([link]));
    else ofPeer.add(link);
    for (const listener of this.#listeners) listener(link);
  }

  remove(worker: number, number: number): WorkerLink | undefined {
    const links = this.#links.get(worker);
    const link = links?.get(number);
    links?.delete(number);
    if (link !== undefined) this.#end(link);
    return link;
  }

  find(worker: number, number: number): WorkerLink | undefined {
    return this.#links.get(worker)?.get(number);
  }

  of(peer: PeerId): readonly WorkerLink[] {
    return [...(this.#ofPeer.get(peer) ?? [])];
  }

  /** Peers that have a link. */
  peers(): readonly PeerId[] {
    return [...this.#ofPeer.keys()];
  }

  list(): readonly WorkerLink[] {
    return [...this.#links.values()].flatMap((links) => [...links.values()]);
  }

  /** Peers that have a link with `worker`. */
  peersOf(worker: number): ReadonlySet<PeerId> {
    return new Set([...(this.#links.get(worker)?.values() ?? [])].map(({ peer }) => peer));
  }

  /** Workers without a link to `peer`. */
  lacking(peer: PeerId): readonly number[] {
    const linked = new Set(this.of(peer).map(({ worker }) => worker));
    return this.workers().filter((worker) => !linked.has(worker));
  }

  #end(link: WorkerLink): void {
    const ofPeer = this.#ofPeer.get(link.peer);
    ofPeer?.delete(link);
    if (ofPeer?.size === 0) this.#ofPeer.delete(link.peer);
    link.ended();
  }

  onLink(listener: (link: WorkerLink) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The next link to `peer` that stands; or the signal's reason. */
  next(peer: PeerId, signal: AbortSignal): Promise<WorkerLink> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const settle = (): void => {
        unsubscribe();
        signal.removeEventListener('abort', onAbort);
      };
      const unsubscribe = this.onLink((link) => {
        if (link.peer !== peer) return;
        settle();
        resolve(link);
      });
      const onAbort = (): void => {
        settle();
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}
