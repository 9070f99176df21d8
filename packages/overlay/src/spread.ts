import { createHash } from 'node:crypto';
import type { PeerId } from '@moat/core';

/**
 * The order in which `self` prefers these peers: its own and the same every time, so that no peer gets everybody.
 * Others know it too: a machine is looked for first at the anchors that it prefers.
 */
export function spread(self: PeerId, peers: readonly PeerId[]): PeerId[] {
  const rank = (peer: PeerId): string => createHash('sha256').update(`${self} ${peer}`).digest('hex');
  return [...new Set(peers)]
    .map((peer) => ({ peer, rank: rank(peer) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .map(({ peer }) => peer);
}
