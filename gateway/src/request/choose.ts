/** Which member gets a request: one with a link, the better of two, each at most once. */
import type { Link, Links, MoatError, PeerId } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import type { Route } from '../routes/snapshot.ts';
import type { Breaker } from '../rules/breaker.ts';

/** Members asked for a link at once where none has one. */
const MAX_CONNECTS = 4;

/** One request's choice among the members of its route. */
export class MemberChoice {
  readonly #links: Pick<Links, 'get' | 'connect'>;
  readonly #route: Route;
  /** Comes first while it has a link. */
  readonly #preferred: PeerId | undefined;
  /** Who rests gets nothing. */
  readonly #breaker: Breaker<PeerId> | undefined;
  /** Made with the second try: most requests need none. */
  #tried: PeerId[] | undefined;
  #first: PeerId | undefined;
  /** Set once members were asked for a link. Made only then: aborting one costs 5% of a request. */
  #asking: AbortController | undefined;

  constructor(links: Pick<Links, 'get' | 'connect'>, route: Route, preferred?: PeerId, breaker?: Breaker<PeerId>) {
    this.#links = links;
    this.#route = route;
    this.#preferred = preferred;
    this.#breaker = breaker;
  }

  /** Why nobody is left to try, where none failed. */
  nobody(): MoatError<GatewayErrorCode> {
    const breaker = this.#breaker;
    if (breaker !== undefined && this.#route.members.some((peer) => breaker.isOpen(peer))) {
      return refusal('MEMBERS_RESTING', 'what serves this name failed and rests for a moment', { retryable: true });
    }
    return refusal('NO_MEMBER_CONNECTED', 'no machine that serves this name is connected now', { retryable: true });
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
    const breaker = this.#breaker;
    const awake = breaker === undefined ? members : members.filter((peer) => !breaker.isOpen(peer));
    if (this.#first === undefined) return awake;
    return awake.filter((peer) => peer !== this.#first && !(this.#tried?.includes(peer) ?? false));
  }
}
