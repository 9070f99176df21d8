/** The leading side of an exchange: proposes, says which addresses are tried when, and what it came to. */
import { sleep, type Endpoint, type PeerId } from '@moat/core';

import { MAX_CANDIDATES, ownCandidates, usableCandidates, type Candidate, type CandidateKind } from './candidates.ts';
import { createDeadline } from '../deadline.ts';
import { LeadersTalk } from './leaders-talk.ts';
import { MAX_ATTEMPTS, MAX_FORWARDERS, PATH_PROTOCOL, type OfferedEnd } from './path-messages.ts';
import type { ForwardSession, OpenForward } from './path-ports.ts';
import type { PathReason } from './path-state.ts';
import { needsForwarder, planPunch, reasonOf } from './punch-plan.ts';
import { peerOf, sendTo } from './punch.ts';
import { comeNear, needsKeepalive, reach, waysOf, type ExchangeDeps, type Outcome, type Pair } from './way.ts';

/** Milliseconds of a whole exchange. */
export const EXCHANGE_MS = 15_000;
/** Milliseconds that packets get to open the routers' ways before they are counted on. */
const OPENING_MS = 50;
/** Milliseconds for one forwarder: until it has a port for us, to which it may take a new connection, and then to be heard there. */
const JOIN_MS = 2_500;
const FORWARD_MS = 1_200;
const MOST_FORWARDERS = 2;
/** WireGuard uses a session for 180 s; one that old is renewed before anything else. */
const SESSION_MS = 150_000;
/** Milliseconds for a first handshake to arrive inside the link. */
const HANDSHAKE_MS = 1_500;
const LOOK_MS = 50;

/** @throws `PATH_REFUSED`, `PATH_INVALID`, `PATH_TIMEOUT`, and what the control plane and the tunnel throw */
export async function lead(deps: ExchangeDeps, pair: Pair, parent: AbortSignal): Promise<Outcome> {
  using deadline = createDeadline(deps.clock, EXCHANGE_MS, parent);
  const [survey, connection] = await Promise.all([
    deps.surveyor.survey(deadline.signal),
    reach(deps.control, pair, deadline.signal),
  ]);
  const stream = await deps.control.open(connection, PATH_PROTOCOL, deadline.signal);
  const talk = new LeadersTalk(deps, stream, deadline.signal);
  try {
    const candidates = ownCandidates(survey.own, deps.excluded()).slice(0, MAX_CANDIDATES);
    const ours: OfferedEnd = {
      nat: survey.nat,
      candidates,
      forwarders: deps.forwarders(pair.peer).slice(0, MAX_FORWARDERS),
    };
    await talk.say({ type: 'offer', deployment: pair.deployment, ...ours });
    const theirs = await talk.answer();
    deps.onForwarders(pair.peer, theirs.forwarders);
    talk.listen();
    return await negotiate(deps, pair, talk, ours, {
      ...theirs,
      candidates: usableCandidates(theirs.candidates, survey.own, deps.excluded()),
    });
  } finally {
    talk.end();
  }
}

async function negotiate(
  deps: ExchangeDeps,
  pair: Pair,
  talk: LeadersTalk,
  ours: OfferedEnd,
  theirs: OfferedEnd,
): Promise<Outcome> {
  const attempts = planPunch(ours, theirs, pair.forward !== null);
  const why = reasonOf(ours, theirs, attempts.length > 0);
  const [first] = choose(deps.forwarders(pair.peer), theirs.forwarders, pair.peer);
  if (pair.forward === null && needsForwarder(ours, theirs, attempts)) comeNear(deps, first, talk.signal);
  const before = (await peerOf(deps.tunnels, pair.place))?.endpoint ?? pair.ride.endpoint;
  if (attempts.length > 0) {
    deps.onPunching();
    await awaitSession(deps, pair, talk.signal);
  }
  let attempt = 0;
  for (const { by, to, from, lastsMs, isUnlikely } of attempts) {
    const back = isUnlikely && to !== null ? pair.ride : undefined;
    const order = { to, leave: waysOf(pair), back, afterMs: OPENING_MS, lastsMs };
    const index = from === null ? null : ours.candidates.indexOf(from);
    await talk.say({ type: 'try', attempt, to: index, afterMs: OPENING_MS });
    const endpoint = await talk.punch(pair.place, attempt, order);
    if (endpoint !== null) {
      await talk.say({ type: 'settle', attempt });
      const kind: CandidateKind = kindOf(theirs.candidates, endpoint) ?? by;
      return { kind: 'direct', endpoint, by: kind, keepsAlive: needsKeepalive(deps.surveyor, kind) };
    }
    attempt += 1;
  }
  await deps.tunnels.setPeer(pair.place.tunnel, pair.place.publicKey, { endpoint: before });
  const isBlocked = ours.nat === 'blocked' || theirs.nat === 'blocked';
  if (pair.forward === null && !isBlocked) {
    if (attempts.length === 0) await awaitSession(deps, pair, talk.signal);
    const forwarded = await forward(deps, pair, talk, theirs, attempt, why);
    if (forwarded !== null) return forwarded;
  }
  await talk.say({ type: 'settle', attempt: null });
  return { kind: 'unchanged', why };
}

async function forward(
  deps: ExchangeDeps,
  pair: Pair,
  talk: LeadersTalk,
  theirs: OfferedEnd,
  firstAttempt: number,
  why: PathReason,
): Promise<Outcome | null> {
  const { openForward } = deps;
  if (openForward === undefined) return null;
  let attempt = firstAttempt;
  for (const by of choose(deps.forwarders(pair.peer), theirs.forwarders, pair.peer)) {
    if (attempt >= MAX_ATTEMPTS) break;
    let session: ForwardSession | undefined;
    try {
      await talk.say({ type: 'forward', attempt, by });
      session = await join(deps, pair, by, openForward, talk.signal);
      const endpoint = await talk.punch(pair.place, attempt, {
        to: session.endpoint,
        probeKey: session.key,
        leave: [pair.ride.endpoint],
        back: pair.ride,
        afterMs: OPENING_MS,
        lastsMs: FORWARD_MS,
      });
      if (endpoint !== null) {
        await talk.say({ type: 'settle', attempt });
        return settled(deps, session, by, why);
      }
    } catch {
      talk.signal.throwIfAborted();
    }
    session?.close();
    await deps.tunnels.setPeer(pair.place.tunnel, pair.place.publicKey, { endpoint: pair.ride.endpoint });
    attempt += 1;
  }
  return null;
}

async function join(
  { clock, control }: ExchangeDeps,
  { deployment, peer }: Pair,
  by: PeerId,
  openForward: OpenForward,
  parent: AbortSignal,
): Promise<ForwardSession> {
  using deadline = createDeadline(clock, JOIN_MS, parent);
  const connection = await control.connect(by, deadline.signal);
  return openForward(connection, { deployment, peer }, deadline.signal);
}

/** What a session at a forwarder comes to. */
export function settled({ surveyor }: ExchangeDeps, session: ForwardSession, by: PeerId, why: PathReason): Outcome {
  const { endpoint } = session;
  return { kind: 'forwarded', endpoint, by, session, why, keepsAlive: needsKeepalive(surveyor, 'forwarded') };
}

/** Those that both could use, then the peer's own: it takes only what it named or knows. */
function choose(ours: readonly PeerId[], theirs: readonly PeerId[], peer: PeerId): readonly PeerId[] {
  const both = ours.filter((forwarder) => theirs.includes(forwarder));
  return [...new Set([...both, ...theirs, ...ours])]
    .filter((forwarder) => forwarder !== peer)
    .slice(0, MOST_FORWARDERS);
}

function kindOf(candidates: readonly Candidate[], { host, port }: Endpoint): CandidateKind | undefined {
  return candidates.find((candidate) => candidate.host === host && candidate.port === port)?.kind;
}

/** Waits for a session that packets can be sent in: a handshake lost on a new way is repeated only 5 s later. */
export async function awaitSession(deps: ExchangeDeps, pair: Pair, signal: AbortSignal): Promise<void> {
  const { tunnels, clock, mayMeet } = deps;
  const until = clock.now() + HANDSHAKE_MS;
  let asked = false;
  for (;;) {
    const state = await peerOf(tunnels, pair.place);
    const handshakeAt = state?.handshakeAt ?? null;
    if (handshakeAt !== null && clock.now() - handshakeAt < SESSION_MS) return;
    if (clock.now() >= until) return;
    // A handshake that fails is repeated only 5 s later as well.
    if (!asked && mayMeet(pair.peer)) {
      asked = true;
      await sendTo(tunnels, pair.place, state?.endpoint ?? pair.ride.endpoint);
    }
    await sleep(clock, LOOK_MS, signal);
  }
}
