/** Questions about a path: may it be, and how long does it take. */
import { MoatError, type DeploymentId, type LinkStream, type Links, type PeerId, type StreamEvents } from '@moat/core';
import { may, type Place } from '@moat/contract';
import type { Explanation, Pinged } from '@moat/admin-api';
import type { Overlay } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';

export interface ProbeDeps {
  readonly self: PeerId;
  readonly overlay: Pick<Overlay, 'connections'>;
  readonly links: Pick<Links, 'get' | 'connect'>;
  /** @throws the code of whoever refuses on the way */
  readonly open: (deployment: DeploymentId, service: string, signal: AbortSignal) => Promise<LinkStream>;
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

/**
 * Round trip over the link to a member; for a service, a stream to it is opened first, so that every check on the
 * way has its say.
 * @throws `NOT_A_MEMBER`, `PEER_VACANT`, `PING_SELF`, `GRANT_DENIED`, `NOT_EXPOSED`, `SERVICE_UNREACHABLE`, …
 */
export async function ping(
  deps: ProbeDeps,
  deployment: Deployment,
  target: string,
  signal: AbortSignal,
): Promise<Pinged> {
  const { place, view } = deployment;
  if (place === undefined) throw new MoatError('NOT_A_MEMBER', `this machine has no place in ${view.contract.name}`);
  const member = view.places.get(target);
  if (member !== undefined) return pingMember(deps, deployment, member, signal);
  if (!view.services.has(target)) {
    throw new MoatError('MEMBER_UNKNOWN', `${view.contract.name} has no member or service ${target.slice(0, 63)}`);
  }
  const stream = await deps.open(deployment.id, target, signal);
  const { peer } = stream;
  stream.listen(IGNORE);
  stream.reset('CLIENT_RESET');
  const name = view.memberOf(peer)?.name ?? target;
  if (peer === deps.self) return { member: name, peer, rttMs: 0, path: 'direct' };
  return pingPeer(deps, name, peer, signal);
}

function pingMember(deps: ProbeDeps, deployment: Deployment, member: Place, signal: AbortSignal): Promise<Pinged> {
  const { name, peer } = member;
  if (peer === null) {
    throw new MoatError('PEER_VACANT', `no machine has taken ${name} yet`, { next: [`moat invite ${name}`] });
  }
  if (peer === deps.self) throw new MoatError('PING_SELF', `${name} is this machine`);
  if (!deployment.linkable.has(peer)) {
    throw new MoatError('GRANT_DENIED', `no access line leads from here to ${name} or back, so no link may stand`);
  }
  return pingPeer(deps, name, peer, signal);
}

async function pingPeer(deps: ProbeDeps, member: string, peer: PeerId, signal: AbortSignal): Promise<Pinged> {
  const link = await deps.links.connect(peer, signal);
  return { member, peer, rttMs: await link.ping(signal), path: link.path };
}

const IGNORE: StreamEvents = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

function pathReason(
  isSelf: boolean,
  peers: readonly PeerId[],
  self: PeerId,
  path: 'direct' | 'spliced' | 'relayed' | null,
): string {
  if (!isSelf) return 'only a machine itself knows its paths: ask on that machine';
  if (peers.length === 0) return 'no machine offers it now';
  if (peers.includes(self)) return 'this machine offers it itself';
  if (path === 'direct') return 'the machines reach each other';
  if (path === 'spliced') return 'neither machine accepts a connection from the other: an anchor joins two sockets';
  if (path === 'relayed') return 'neither machine accepts a connection from the other: an anchor relays';
  return 'no connection yet; the first stream opens one';
}
