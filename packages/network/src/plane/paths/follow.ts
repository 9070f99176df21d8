/** The following side of an exchange: answers, tries what the leader says, and takes its word for the end. */
import { MoatError, type Endpoint, type MessageStream, type PeerId } from '@moat/core';

import { MAX_CANDIDATES, ownCandidates, usableCandidates, type Candidate, type CandidateKind } from './candidates.ts';
import { createDeadline } from '../deadline.ts';
import { EXCHANGE_MS, awaitSession, settled } from './lead.ts';
import {
  MAX_ATTEMPTS,
  MAX_FORWARDERS,
  decodePathMessage,
  encodePathMessage,
  type OfferedEnd,
  type PathMessage,
} from './path-messages.ts';
import type { ForwardSession } from './path-ports.ts';
import type { PathReason } from './path-state.ts';
import { needsForwarder, planPunch, reasonOf, type PunchAttempt } from './punch-plan.ts';
import { peerOf, punch, type PunchOrder } from './punch.ts';
import { comeNear, needsKeepalive, waysOf, type ExchangeDeps, type Outcome, type Pair } from './way.ts';

/** Milliseconds; the leader says earlier that a way is given up. */
const TRY_MS = 4_000;

export interface FollowDeps extends ExchangeDeps {
  /** True when packets may be sent to one more address that this peer named. */
  readonly mayTry: (peer: PeerId) => boolean;
}

/** @throws `PATH_INVALID`, `PATH_TIMEOUT`, and what the stream and the tunnel throw; a forward session is closed then */
export async function follow(
  deps: FollowDeps,
  pair: Pair,
  stream: MessageStream,
  offer: OfferedEnd,
  parent: AbortSignal,
): Promise<Outcome> {
  using deadline = createDeadline(deps.clock, EXCHANGE_MS + TRY_MS, parent);
  const { signal } = deadline;
  const survey = await deps.surveyor.survey(signal);
  const ours: OfferedEnd = {
    nat: survey.nat,
    candidates: ownCandidates(survey.own, deps.excluded()).slice(0, MAX_CANDIDATES),
    forwarders: deps.forwarders(pair.peer).slice(0, MAX_FORWARDERS),
  };
  const usable = usableCandidates(offer.candidates, survey.own, deps.excluded());
  deps.onForwarders(pair.peer, offer.forwarders);
  const plan = planPunch(ours, { ...offer, candidates: usable });
  if (pair.forward === null && needsForwarder(ours, offer, plan)) {
    comeNear(deps, offer.forwarders.find((each) => ours.forwarders.includes(each)) ?? ours.forwarders[0], signal);
  }
  const session = awaitSession(deps, pair, signal).catch(() => undefined);
  await stream.write(encodePathMessage({ type: 'answer', ...ours }), signal);
  await session;
  const tries = new FollowersTries(deps, pair, stream, { offered: offer.candidates, usable, ours, plan }, signal);
  try {
    return await tries.run(reasonOf(ours, offer, plan.length > 0));
  } finally {
    await tries.stop();
  }
}

interface Ends {
  /** As the leader numbers them. */
  readonly offered: readonly Candidate[];
  readonly usable: readonly Candidate[];
  readonly ours: OfferedEnd;
  /** What we would try. */
  readonly plan: readonly PunchAttempt[];
}

interface Heard {
  readonly endpoint: Endpoint;
  readonly by: CandidateKind | { readonly forwarder: PeerId; readonly session: ForwardSession };
}

class FollowersTries {
  readonly #deps: FollowDeps;
  readonly #pair: Pair;
  readonly #stream: MessageStream;
  readonly #ends: Ends;
  readonly #signal: AbortSignal;
  readonly #heard = new Map<number, Heard>();
  readonly #sessions = new Set<ForwardSession>();
  #now: { readonly controller: AbortController; readonly done: Promise<void> } | undefined;

  constructor(deps: FollowDeps, pair: Pair, stream: MessageStream, ends: Ends, signal: AbortSignal) {
    this.#deps = deps;
    this.#pair = pair;
    this.#stream = stream;
    this.#ends = ends;
    this.#signal = signal;
  }

  /** Until the leader settles. */
  async run(why: PathReason): Promise<Outcome> {
    const { place } = this.#pair;
    const before = (await peerOf(this.#deps.tunnels, place))?.endpoint ?? this.#pair.ride.endpoint;
    let restored: Endpoint = before;
    for (let count = 0; count <= MAX_ATTEMPTS; count++) {
      const message = decodePathMessage(await this.#stream.read(this.#signal));
      await this.#endTry();
      if (message.type === 'try') this.#begin(message);
      else if (message.type === 'forward') {
        restored = this.#pair.ride.endpoint;
        await this.#move(restored);
        this.#begin(message);
      } else if (message.type === 'settle') return await this.#settle(message.attempt, restored, why);
      else throw new MoatError('PATH_INVALID', 'the leader may not say that here');
    }
    throw new MoatError('PATH_INVALID', 'the leader tries too much');
  }

  async stop(): Promise<void> {
    await this.#endTry();
    for (const session of this.#sessions) session.close();
  }

  async #settle(attempt: number | null, restored: Endpoint, why: PathReason): Promise<Outcome> {
    const heard = attempt === null ? undefined : this.#heard.get(attempt);
    if (heard === undefined) {
      await this.#move(restored);
      return { kind: 'unchanged', why };
    }
    await this.#move(heard.endpoint);
    const { by, endpoint } = heard;
    if (typeof by === 'string') {
      return { kind: 'direct', endpoint, by, keepsAlive: needsKeepalive(this.#deps.surveyor, by) };
    }
    this.#sessions.delete(by.session);
    return settled(this.#deps, by.session, by.forwarder, why);
  }

  #begin(message: PathMessage & { readonly type: 'try' | 'forward' }): void {
    const controller = new AbortController();
    const signal = AbortSignal.any([controller.signal, this.#signal]);
    const trying = message.type === 'try' ? this.#try(message, signal) : this.#forward(message, signal);
    // A way that cannot be tried is one on which nothing is heard.
    this.#now = { controller, done: trying.catch(() => undefined) };
  }

  async #endTry(): Promise<void> {
    this.#now?.controller.abort(new MoatError('STREAM_ENDED', 'the next way is tried'));
    await this.#now?.done;
    this.#now = undefined;
  }

  async #try({ attempt, to, afterMs }: PathMessage & { type: 'try' }, signal: AbortSignal): Promise<void> {
    const named = to === null ? undefined : this.#ends.offered[to];
    const target = this.#ends.usable.find(({ host, port }) => host === named?.host && port === named.port) ?? null;
    if (target !== null && !this.#deps.mayTry(this.#pair.peer)) return;
    const isUnlikely = target !== null && this.#ends.plan.some((each) => each.to === target && each.isUnlikely);
    const order = { to: target, leave: waysOf(this.#pair), back: isUnlikely ? this.#pair.ride : undefined, afterMs };
    await this.#punch(attempt, order, target?.kind ?? 'observed', signal);
  }

  async #forward({ attempt, by }: PathMessage & { type: 'forward' }, signal: AbortSignal): Promise<void> {
    const { control, forwarders, openForward } = this.#deps;
    const { deployment, peer, ride } = this.#pair;
    const isKnown = this.#ends.ours.forwarders.includes(by) || forwarders(peer).includes(by);
    if (openForward === undefined || !isKnown) return;
    const connection = await control.connect(by, signal);
    const session = await openForward(connection, { deployment, peer }, signal);
    this.#sessions.add(session);
    const order = { to: session.endpoint, probeKey: session.key, leave: [ride.endpoint], back: ride, afterMs: 0 };
    await this.#punch(attempt, order, { forwarder: by, session }, signal);
  }

  async #punch(
    attempt: number,
    order: Omit<PunchOrder, 'agreed' | 'onHeard' | 'lastsMs'>,
    by: Heard['by'],
    signal: AbortSignal,
  ): Promise<void> {
    const { place } = this.#pair;
    const onHeard = (endpoint: Endpoint): void => {
      this.#heard.set(attempt, { endpoint, by });
      this.#stream.write(encodePathMessage({ type: 'heard', attempt }), this.#signal).catch(() => undefined);
    };
    await punch(this.#deps, place, { ...order, lastsMs: TRY_MS, agreed: () => false, onHeard }, signal);
  }

  async #move(endpoint: Endpoint): Promise<void> {
    const { publicKey, tunnel } = this.#pair.place;
    await this.#deps.tunnels.setPeer(tunnel, publicKey, { endpoint });
  }
}
