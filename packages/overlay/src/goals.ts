/** What the supervisor shall keep true, from the deployments as they are now. */
import type { PeerId } from '@moat/core';
import { peerIdOfMultiaddr } from '@moat/contract';
import type { Callbacks } from './callbacks.ts';
import type { DeploymentView } from './deployment-view.ts';
import type { Dialer } from './dialer.ts';
import type { Reservations } from './reservations.ts';
import { spread } from './spread.ts';
import type { Goal } from './supervisor.ts';

/** Keepers a member stays connected to, and anchors it holds reservations at; all, where there are fewer. */
const WANTED = 2;
/** Members that a keeper calls at once. */
const CALLS_AT_ONCE = 4;

/** A peer somebody asked to keep. */
export interface KeptGoal {
  readonly key: string;
  readonly peer: PeerId;
  readonly isMet: () => boolean;
  readonly attempt: (signal: AbortSignal) => Promise<void>;
}

export interface GoalsDeps {
  readonly self: PeerId;
  readonly deployments: DeploymentView;
  readonly dialer: Dialer;
  readonly reservations: Reservations;
  readonly kept: readonly KeptGoal[];
  readonly callbacks: Callbacks;
}

/** The goals, and every anchor that one of them may use. */
export function goalsOf(deps: GoalsDeps): { readonly goals: readonly Goal[]; readonly anchors: ReadonlySet<PeerId> } {
  const goals: Goal[] = [];
  const anchors = new Set<PeerId>();
  for (const deployment of deps.deployments.deployments()) {
    goals.push(keepersGoal(deployment, deps));
    const goal = anchorsGoal(deployment, deps);
    for (const peer of goal.candidates) anchors.add(peer);
    goals.push(goal);
  }
  // Last: whoever stands above is tried first.
  goals.push(...memberGoals(deps));
  for (const { key, peer, isMet, attempt } of deps.kept) {
    goals.push({ key, candidates: [peer], want: 1, isMet, attempt: (_, signal) => attempt(signal) });
  }
  return { goals, anchors };
}

function keepersGoal(deployment: string, { self, deployments, dialer }: GoalsDeps): Goal {
  const members = deployments.members(deployment);
  const keepers = members.filter(({ keeper, peer }) => keeper && peer !== self);
  const isKeeper = members.some(({ keeper, peer }) => keeper && peer === self);
  return {
    key: `keepers ${deployment}`,
    candidates: spread(
      self,
      keepers.map(({ peer }) => peer),
    ),
    // Keepers hold each other: news crosses them at once, and each confirms the others' head.
    want: isKeeper ? keepers.length : WANTED,
    isMet: (peer) => dialer.connections(peer).length > 0,
    attempt: async (peer, signal) => void (await dialer.connect(peer, signal)),
  };
}

/** One for each deployment that this machine keeps. */
function memberGoals({ self, deployments, dialer, callbacks }: GoalsDeps): Goal[] {
  const called = new Set<PeerId>();
  const goals = deployments.deployments().flatMap((deployment): Goal[] => {
    const members = deployments.members(deployment);
    if (!members.some(({ keeper, peer }) => keeper && peer === self)) return [];
    const candidates = members.flatMap(({ keeper, peer }) => (keeper || peer === self ? [] : peer));
    for (const peer of candidates) called.add(peer);
    return [
      {
        key: `members ${deployment}`,
        candidates,
        want: candidates.length,
        atOnce: CALLS_AT_ONCE,
        isMet: (peer) => callbacks.isDone(peer) || (dialer.connections(peer).length > 0 && callbacks.done(peer)),
        attempt: (peer, signal) => callbacks.attempt(peer, () => dialer.connect(peer, signal)),
      },
    ];
  });
  callbacks.keepOnly(called);
  return goals;
}

function anchorsGoal(deployment: string, { self, deployments, reservations }: GoalsDeps): Goal {
  const addresses = new Map<PeerId, string[]>();
  for (const address of deployments.anchors(deployment)) {
    const peer = peerIdOfMultiaddr(address);
    if (peer !== self) addresses.set(peer, [...(addresses.get(peer) ?? []), address]);
  }
  return {
    key: `anchors ${deployment}`,
    candidates: spread(self, [...addresses.keys()]),
    want: WANTED,
    isMet: (peer) => reservations.has(peer),
    attempt: (peer, signal) => reservations.take(addresses.get(peer) ?? [], signal),
  };
}
