/** How this machine reaches another one, and why not better. */
import type { Links, PeerId } from '@moat/core';
import { peerIdOfMultiaddr, type Place } from '@moat/contract';
import type { Explanation, PlanePath } from '@moat/admin-api';
import type { Overlay, Reach } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';

/** Failed dials named in one sentence. */
const MAX_FAILURES = 3;

export interface PathDeps {
  readonly self: PeerId;
  readonly overlay: Pick<Overlay, 'connections' | 'reach' | 'reservations'>;
  readonly links: Pick<Links, 'get'>;
  /** How WireGuard packets go to a peer. */
  readonly plane: (deployment: Deployment, peer: PeerId) => PlanePath | undefined;
}

export type PathFinding = Pick<Explanation, 'path' | 'pathReason' | 'plane'>;

/** The path between `from` and the machines that offer `to`, as far as one end is this machine. */
export function explainPath(deps: PathDeps, deployment: Deployment, from: string, to: string): PathFinding {
  const { view, place } = deployment;
  const offering = view.membersOn(to);
  if (offering.length === 0) return { path: null, pathReason: `no machine offers ${to} now` };
  if (place?.name === from) {
    if (offering.some(({ peer }) => peer === deps.self)) {
      return { path: null, pathReason: 'this machine offers it itself' };
    }
    const linked = offering.find(({ peer }) => peer !== null && deps.links.get(peer) !== undefined);
    return pathTo(deps, deployment, linked ?? (offering[0] as Place));
  }
  const other = view.places.get(from);
  const isOffered = offering.some(({ peer }) => peer === deps.self);
  if (other !== undefined && other.peer !== null && isOffered) return pathTo(deps, deployment, other);
  return { path: null, pathReason: 'only the machines at its two ends know the path: ask on one of them' };
}

/** The path to one machine. */
export function pathTo(
  deps: PathDeps,
  deployment: Deployment,
  { name, peer }: Pick<Place, 'name' | 'peer'>,
): PathFinding {
  if (peer === null) return { path: null, pathReason: `no machine holds the place of ${name}` };
  const reach = deps.overlay.reach(peer);
  const path = deps.links.get(peer)?.path ?? reach.path;
  const plane = deps.plane(deployment, peer);
  const pathReason = reasonOf(deps, deployment, name, path, reach);
  return { path, pathReason, ...(plane === undefined ? {} : { plane }) };
}

function reasonOf(
  deps: PathDeps,
  deployment: Deployment,
  name: string,
  path: Explanation['path'],
  reach: Reach,
): string {
  const { address, anchor } = reach;
  if (path === 'direct') return address === null ? `a direct socket to ${name}` : `connected directly at ${address}`;
  const direct = directReason(name, reach);
  if (path === null) return `not connected: ${direct}; ${anchorReason(deps, deployment)}`;
  if (path === 'spliced') return `${direct}; an anchor joins the two machines' sockets and cannot read them`;
  return `${direct}; ${anchor === null ? 'an anchor' : `the anchor ${anchorName(deployment, anchor)}`} relays, and cannot read it`;
}

/** Why there is no direct connection. */
function directReason(name: string, { path, known, failures, address }: Reach): string {
  if (path === 'direct') return `${name} is connected at ${address ?? 'its address'}, but its link port is not reached`;
  if (failures.length > 0) {
    const tried = failures.slice(0, MAX_FAILURES).map((failure) => `${failure.address} ${failure.reason}`);
    return `no direct way to ${name} (${tried.join(', ')})`;
  }
  return known === 0
    ? `${name} has no inbound port that is known here, and neither machine reached the other`
    : `no direct connection to ${name} so far`;
}

function anchorReason({ overlay }: PathDeps, { contract }: Deployment): string {
  if (contract.anchors.length === 0) return 'the network has no anchor, so machines meet on one LAN only';
  const held = overlay.reservations();
  if (held.length === 0) return 'no anchor of the network answers this machine';
  return 'the anchor answers, and the other machine is not there';
}

/** The host of an anchor's address, as the contract has it. */
function anchorName({ contract }: Deployment, anchor: PeerId): string {
  const address = contract.anchors.find((each) => peerIdOfMultiaddr(each) === anchor);
  return address?.split('/')[2] ?? anchor;
}
