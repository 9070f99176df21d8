/**
 * Opening a stream to a service: choose an instance, wait for its answer, go on to the next one when it
 * refuses or its link fails. Nothing has been sent to a program by then, so trying again is always safe.
 */
import {
  Balancer,
  MoatError,
  errorCode,
  isMoatError,
  type Clock,
  type LinkStream,
  type Links,
  type OpenRequest,
  type PeerId,
} from '@moat/core';
import { HeldStream } from './held-stream.ts';

export interface OpenerDeps {
  readonly links: Links;
  readonly clock: Clock;
  random(): number;
  /** Opens a stream to this member itself. */
  openLocal(request: OpenRequest): LinkStream;
}

export interface OpenerOptions {
  /** To link up with one instance and hear from its service. @defaultValue 5000 */
  readonly attemptTimeoutMs?: number;
  /** Instances tried for one stream. @defaultValue 4 */
  readonly maxAttempts?: number;
}

/** Links to this many instances of a service are enough to spread streams over. */
const ENOUGH_LINKS = 3;
const LINK_UP_TIMEOUT_MS = 10_000;

/** A member that offers the service; `local` is this machine. */
export interface Candidate {
  readonly peer: PeerId;
  readonly local: boolean;
}

/** One an own network. Health is remembered per service and instance. */
export class Opener {
  readonly #deps: OpenerDeps;
  readonly #attemptTimeoutMs: number;
  readonly #maxAttempts: number;
  /** Instances being linked up; at most one a stream that is opened. */
  readonly #linking = new Set<PeerId>();
  readonly #balancers = new Map<string, Balancer<PeerId>>();

  constructor(deps: OpenerDeps, options: OpenerOptions = {}) {
    this.#deps = deps;
    this.#attemptTimeoutMs = options.attemptTimeoutMs ?? 5_000;
    this.#maxAttempts = options.maxAttempts ?? 4;
  }

  /**
   * A connected stream.
   * @param opened has the stream from its answer to its end, so that one which ends at once is not kept for ever.
   * @throws `SERVICE_UNREACHABLE`, or the code every instance refused with, or the signal's reason
   */
  async open(
    request: OpenRequest,
    candidates: readonly Candidate[],
    signal: AbortSignal,
    opened: Set<HeldStream>,
  ): Promise<HeldStream> {
    const balancer = this.#balancerOf(request.service);
    let untried = [...candidates];
    let refusal: unknown;
    for (let attempt = 0; attempt < this.#maxAttempts && untried.length > 0; attempt++) {
      signal.throwIfAborted();
      const chosen = this.#choose(balancer, untried);
      untried = untried.filter((each) => each !== chosen);
      try {
        return await this.#attempt(balancer, request, chosen, signal, opened);
      } catch (error) {
        signal.throwIfAborted();
        balancer.failure(chosen.peer);
        // What one instance refuses says more than that another is away.
        if (refusal === undefined || errorCode(refusal) === 'SERVICE_UNREACHABLE') refusal = error;
      }
    }
    throw refused(request.service, candidates.length, refusal);
  }

  /** Which of these did not fail lately. */
  healthy(service: string, peers: readonly PeerId[]): readonly PeerId[] {
    const balancer = this.#balancers.get(service);
    return balancer ? peers.filter((peer) => balancer.healthy(peer)) : peers;
  }

  /** Forgets services and instances that are no more. */
  retain(instances: ReadonlyMap<string, readonly PeerId[]>): void {
    for (const [service, balancer] of this.#balancers) {
      const peers = instances.get(service);
      if (peers) balancer.retain(peers);
      else this.#balancers.delete(service);
    }
  }

  async #attempt(
    balancer: Balancer<PeerId>,
    request: OpenRequest,
    { peer, local }: Candidate,
    signal: AbortSignal,
    opened: Set<HeldStream>,
  ): Promise<HeldStream> {
    balancer.begin(peer);
    const deadline = new AbortController();
    const timer = this.#deps.clock.after(this.#attemptTimeoutMs, () =>
      deadline.abort(new MoatError('SERVICE_UNREACHABLE', `no answer from ${peer} in time`, { retryable: true })),
    );
    const both = AbortSignal.any([signal, deadline.signal]);
    let stream: HeldStream | undefined;
    try {
      const link = local ? undefined : await settled(this.#deps.links.connect(peer, both), both);
      const inner = link ? link.open(request) : this.#deps.openLocal(request);
      stream = await held(inner, both, opened, () => balancer.end(peer));
      balancer.success(peer);
      return stream;
    } finally {
      timer.cancel();
      if (!stream) balancer.end(peer);
    }
  }

  /**
   * This machine's own instance saves a hop. Otherwise one that has a link already, so that a program does not
   * wait for a machine that is away; the others are linked up meanwhile, for the streams to come.
   */
  #choose(balancer: Balancer<PeerId>, candidates: readonly Candidate[]): Candidate {
    const local = candidates.find((each) => each.local && balancer.healthy(each.peer));
    if (local) return local;
    const linked = candidates.filter(({ peer }) => this.#deps.links.get(peer) !== undefined && balancer.healthy(peer));
    const among = linked.length > 0 ? linked : candidates;
    const picked = balancer.pick(among.map(({ peer }) => peer));
    if (linked.length > 0 && linked.length < ENOUGH_LINKS) this.#linkUp(balancer, candidates);
    return among.find(({ peer }) => peer === picked) as Candidate;
  }

  /** Asks one more instance for a link, where that did not fail lately and is not under way. */
  #linkUp(balancer: Balancer<PeerId>, candidates: readonly Candidate[]): void {
    const peer = candidates
      .map((each) => each.peer)
      .find((each) => {
        return this.#deps.links.get(each) === undefined && balancer.healthy(each) && !this.#linking.has(each);
      });
    if (peer === undefined) return;
    this.#linking.add(peer);
    const deadline = new AbortController();
    const timer = this.#deps.clock.after(LINK_UP_TIMEOUT_MS, () => deadline.abort(new Error('linking took too long')));
    void settled(this.#deps.links.connect(peer, deadline.signal), deadline.signal)
      .catch(() => balancer.failure(peer))
      .finally(() => {
        timer.cancel();
        this.#linking.delete(peer);
      });
  }

  #balancerOf(service: string): Balancer<PeerId> {
    let balancer = this.#balancers.get(service);
    if (!balancer) {
      balancer = new Balancer<PeerId>({ now: () => this.#deps.clock.now(), random: () => this.#deps.random() });
      this.#balancers.set(service, balancer);
    }
    return balancer;
  }
}

/** Waits for the acceptor's answer; a stream that is refused, or given up, is closed. */
function held(
  inner: LinkStream,
  signal: AbortSignal,
  opened: Set<HeldStream>,
  onClosed: () => void,
): Promise<HeldStream> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      stream.reset('REQUEST_CANCELLED');
      reject(signal.reason as Error);
    };
    const stream: HeldStream = new HeldStream(inner, {
      onAnswer: (head, code) => {
        signal.removeEventListener('abort', onAbort);
        if (head) {
          opened.add(stream);
          resolve(stream);
        } else reject(new MoatError(code, 'the member refused the stream', { retryable: true }));
      },
      onClosed: () => {
        if (opened.delete(stream)) onClosed();
      },
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** A promise that does not outlive its signal, whatever its maker does with it. */
function settled<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function refused(service: string, instances: number, cause: unknown): MoatError {
  const code = isMoatError(cause) && !LINK_FAILURES.has(cause.code) ? cause.code : 'SERVICE_UNREACHABLE';
  return new MoatError(code, `no instance of ${service} took the stream`, {
    cause,
    retryable: true,
    details: { service, instances },
    reason: instances === 0 ? 'no member that offers it holds its place' : lastAnswer(cause),
  });
}

function lastAnswer(cause: unknown): string {
  return isMoatError(cause) ? `${cause.message} (${cause.code})` : `the last answer was ${errorCode(cause)}`;
}

/** Codes that say how a link failed, which the program behind a listener cannot do anything about. */
const LINK_FAILURES: ReadonlySet<string> = new Set(['LINK_CLOSED', 'LINK_FAILED', 'PEER_UNREACHABLE', 'STREAM_ENDED']);
