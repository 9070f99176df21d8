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

/** Bound: what the workers hold, sixteen links a peer each. */
export class WorkerTable {
  /** By worker, then by the number that the worker gave the link; oldest first. */
  readonly #links = new Map<number, Map<number, WorkerLink>>();
  readonly #listeners = new Set<(link: WorkerLink) => void>();

  /** Workers that take links. */
  workers(): readonly number[] {
    return [...this.#links.keys()];
  }

  addWorker(worker: number): void {
    if (!this.#links.has(worker)) this.#links.set(worker, new Map());
  }

  /** The worker is gone, or takes no more; its links with it. */
  removeWorker(worker: number): readonly WorkerLink[] {
    const links = [...(this.#links.get(worker)?.values() ?? [])];
    this.#links.delete(worker);
    for (const link of links) link.ended();
    return links;
  }

  add(number: number, link: WorkerLink): void {
    this.#links.get(link.worker)?.set(number, link);
    for (const listener of this.#listeners) listener(link);
  }

  remove(worker: number, number: number): WorkerLink | undefined {
    const links = this.#links.get(worker);
    const link = links?.get(number);
    links?.delete(number);
    link?.ended();
    return link;
  }

  find(worker: number, number: number): WorkerLink | undefined {
    return this.#links.get(worker)?.get(number);
  }

  of(peer: PeerId): readonly WorkerLink[] {
    return this.list().filter((link) => link.peer === peer);
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
