/** Questions about a path: may it be, and how long does it take. */
import { MoatError, isMoatError, type Links, type PeerId } from '@moat/core';
import { may, type Place } from '@moat/contract';
import type { Explanation, Pinged } from '@moat/admin-api';
import type { Overlay } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';

export interface ProbeDeps {
  readonly self: PeerId;
  readonly overlay: Pick<Overlay, 'connections'>;
  readonly links: Pick<Links, 'get' | 'connect'>;
  readonly now: () => number;
}

/** Allowed or denied, by which line; and the path from here when this machine is `from`. */
export function explain(
  { self, overlay, links, now }: ProbeDeps,
  deployment: Deployment,
  from: string,
  to: string,
): Explanation {
  const access = may(deployment.view, from, to, now());
  const peers = deployment.view.membersOn(to).flatMap(({ peer }) => peer ?? []);
  const [link] = peers.flatMap((peer) => links.get(peer) ?? []);
  const [connection] = peers.flatMap((peer) => overlay.connections(peer));
  const path = link?.path ?? (connection === undefined ? null : connection.remote === null ? 'relayed' : 'direct');
  return {
    deployment: deployment.id,
    version: deployment.contract.version,
    from,
    to,
    allowed: access.allowed,
    code: access.allowed ? null : access.code,
    reason: access.reason,
    grant: access.allowed ? access.grant : null,
    path: deployment.place?.name === from ? path : null,
    pathReason: pathReason(deployment.place?.name === from, peers, self, path),
  };
}

/** Round trip over the link to a member, or to a member that offers a service. @throws `PEER_VACANT`, `PING_SELF`, … */
export async function ping(
  deps: ProbeDeps,
  deployment: Deployment,
  target: string,
  signal: AbortSignal,
): Promise<Pinged> {
  if (deployment.place === undefined) {
    throw new MoatError('NOT_A_MEMBER', `this machine has no place in ${deployment.contract.name}`);
  }
  let lastError: unknown;
  for (const { name, peer } of targetsOf(deps, deployment, target)) {
    try {
      const link = await deps.links.connect(peer, signal);
      return { member: name, peer, rttMs: await link.ping(signal), path: link.path };
    } catch (error) {
      signal.throwIfAborted();
      if (!isMoatError(error)) throw error;
      lastError = error;
    }
  }
  throw lastError;
}

function targetsOf({ self }: ProbeDeps, deployment: Deployment, target: string): { name: string; peer: PeerId }[] {
  const { view } = deployment;
  const place = view.places.get(target);
  const places: readonly Place[] = place === undefined ? view.membersOn(target) : [place];
  if (place === undefined && !view.services.has(target)) {
    throw new MoatError(
      'MEMBER_UNKNOWN',
      `${deployment.contract.name} has no member or service ${target.slice(0, 63)}`,
    );
  }
  const held = places.flatMap(({ name, peer }) => (peer === null ? [] : [{ name, peer }]));
  const others = held.filter(({ peer }) => peer !== self);
  if (others.length > 0) return others;
  if (held.length > 0) throw new MoatError('PING_SELF', `${target} is this machine`);
  throw new MoatError('PEER_VACANT', `no machine has taken ${target} yet`, { next: [`moat invite ${target}`] });
}

function pathReason(
  isSelf: boolean,
  peers: readonly PeerId[],
  self: PeerId,
  path: 'direct' | 'relayed' | null,
): string {
  if (!isSelf) return 'only a machine itself knows its paths: ask on that machine';
  if (peers.length === 0) return 'no machine offers it now';
  if (peers.includes(self)) return 'this machine offers it itself';
  if (path === 'direct') return 'the machines reach each other';
  if (path === 'relayed') return 'neither machine accepts a connection from the other: an anchor relays';
  return 'no connection yet; the first stream opens one';
}
