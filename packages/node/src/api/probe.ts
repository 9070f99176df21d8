/** How long a round trip takes. */
import {
  MoatError,
  type Clock,
  type DeploymentId,
  type LinkStream,
  type Links,
  type PeerId,
  type StreamEvents,
} from '@moat/core';
import { may, type Place } from '@moat/contract';
import type { Pinged } from '@moat/admin-api';
import type { Deployment } from '../deployments/deployment.ts';
import { pathTo, type PathDeps } from '../explain/path.ts';

export interface ProbeDeps extends PathDeps {
  readonly clock: Pick<Clock, 'now'>;
  readonly links: Pick<Links, 'get' | 'connect'>;
  /** @throws the code of whoever refuses on the way */
  readonly open: (deployment: DeploymentId, service: string, signal: AbortSignal) => Promise<LinkStream>;
}

/**
 * Round trip over the link to a member; for a service, a stream to it is opened first, so that every check on the
 * way has its say. Of a UDP service it is the link to the first machine that offers it.
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
  const service = view.services.get(target);
  if (service === undefined) {
    throw new MoatError('MEMBER_UNKNOWN', `${view.contract.name} has no member or service ${target.slice(0, 63)}`);
  }
  if (service.protocol === 'udp') {
    const access = may(view, place.name, target, deps.clock.now());
    if (!access.allowed) throw new MoatError(access.code, access.reason);
    const [first] = view.membersOn(target);
    if (first === undefined) throw new MoatError('SERVICE_UNREACHABLE', `no machine offers ${target} now`);
    return pingMember(deps, deployment, first, signal);
  }
  const stream = await deps.open(deployment.id, target, signal);
  const { peer } = stream;
  stream.listen(IGNORE);
  stream.reset('CLIENT_RESET');
  const name = view.memberOf(peer)?.name ?? target;
  if (peer === deps.self) {
    return { member: name, peer, rttMs: 0, path: 'direct', pathReason: 'this machine offers it itself' };
  }
  return pingPeer(deps, deployment, name, peer, signal);
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
  return pingPeer(deps, deployment, name, peer, signal);
}

async function pingPeer(
  deps: ProbeDeps,
  deployment: Deployment,
  member: string,
  peer: PeerId,
  signal: AbortSignal,
): Promise<Pinged> {
  const link = await deps.links.connect(peer, signal);
  const rttMs = await link.ping(signal);
  const { pathReason, plane } = pathTo(deps, deployment, { name: member, peer });
  return { member, peer, rttMs, path: link.path, pathReason, ...(plane === undefined ? {} : { plane }) };
}

/** For a stream that is only opened to see whether it may be. */
export const IGNORE: StreamEvents = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};
