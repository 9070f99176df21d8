/** What the supervisor shall keep true, from the deployments as they are now. */
import { createHash } from 'node:crypto';
import type { PeerId } from '@moat/core';
import { peerIdOfMultiaddr } from '@moat/contract';
import type { DeploymentView } from './deployment-view.ts';
import type { Dialer } from './dialer.ts';
import type { Reservations } from './reservations.ts';
import type { Goal } from './supervisor.ts';

/** Keepers a member stays connected to, and anchors it holds reservations at; all, where there are fewer. */
const WANTED = 2;

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
  for (const { key, peer, isMet, attempt } of deps.kept) {
    goals.push({ key, candidates: [peer], want: 1, isMet, attempt: (_, signal) => attempt(signal) });
  }
  return { goals, anchors };
}

function keepersGoal(deployment: string, { self, deployments, dialer }: GoalsDeps): Goal {
  const keepers = deployments.members(deployment).filter(({ keeper, peer }) => keeper && peer !== self);
  return {
    key: `keepers ${deployment}`,
    candidates: spread(
      self,
      keepers.map(({ peer }) => peer),
    ),
    want: WANTED,
    isMet: (peer) => dialer.connections(peer).length > 0,
    attempt: async (peer, signal) => void (await dialer.connect(peer, signal)),
  };
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

/** An order of its own for each machine, the same every time, so that no peer gets everybody. */
function spread(self: PeerId, peers: readonly PeerId[]): PeerId[] {
  const rank = (peer: PeerId): string => createHash('sha256').update(`${self} ${peer}`).digest('hex');
  return [...new Set(peers)]
    .map((peer) => ({ peer, rank: rank(peer) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .map(({ peer }) => peer);
}
