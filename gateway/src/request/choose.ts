/** Which member gets a request: one with a link, the better of two, each at most once. */
import type { Link, Links, PeerId } from '@moat/core';
import type { Route } from '../routes/snapshot.ts';

/** Members asked for a link at once where none has one. */
const MAX_CONNECTS = 4;

/** One request's choice among the members of its route. */
export class MemberChoice {
  readonly #links: Pick<Links, 'get' | 'connect'>;
  readonly #route: Route;
  /** Comes first while it has a link. */
  readonly #preferred: PeerId | undefined;
  /** Made with the second try: most requests need none. */
  #tried: PeerId[] | undefined;
  #first: PeerId | undefined;
  /** Set once members were asked for a link. Made only then: aborting one costs 5% of a request. */
  #asking: AbortController | undefined;

  constructor(links: Pick<Links, 'get' | 'connect'>, route: Route, preferred?: PeerId) {
    this.#links = links;
    this.#route = route;
    this.#preferred = preferred;
  }

  /** Members tried so far. */
  get tries(): number {
    return this.#first === undefined ? 0 : 1 + (this.#tried?.length ?? 0);
  }

  /** The next member to try; undefined when none that is left has a link. */
  next(): { readonly peer: PeerId; readonly link: Link } | undefined {
    const peer = this.#pick();
    const link = peer === undefined ? undefined : this.#links.get(peer);
    if (peer === undefined || link === undefined) return undefined;
    if (this.#first === undefined) this.#first = peer;
    else (this.#tried ??= []).push(peer);
    return { peer, link };
  }

  /**
   * Asks members that are left to open a link, once, and calls `done` when one has or none will within `ms`.
   * False when there is nobody to ask, or was asked before.
   */
  ask(ms: number, done: () => void): boolean {
    const candidates = this.#untried();
    if (this.#asking || candidates.length === 0) return false;
    this.#asking = new AbortController();
    const signal = AbortSignal.any([this.#asking.signal, AbortSignal.timeout(ms)]);
    void Promise.any(candidates.slice(0, MAX_CONNECTS).map((peer) => this.#links.connect(peer, signal)))
      .catch(() => undefined)
      .then(done);
    return true;
  }

  /** Nobody waits for a link any more. */
  end(): void {
    this.#asking?.abort();
  }

  #pick(): PeerId | undefined {
    const preferred = this.#first === undefined ? this.#preferred : undefined;
    if (preferred !== undefined && this.#links.get(preferred) !== undefined) return preferred;
    return this.#route.balancer.pick(this.#untried(), (member) => this.#links.get(member) !== undefined);
  }

  #untried(): readonly PeerId[] {
    const { members } = this.#route;
    if (this.#first === undefined) return members;
    return members.filter((peer) => peer !== this.#first && !(this.#tried?.includes(peer) ?? false));
  }
}
