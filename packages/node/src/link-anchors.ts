/** The anchors over which this machine's links may be spliced: those of the contracts it shares with a peer. */
import { MoatError, type PeerId } from '@moat/core';
import { peerIdOfMultiaddr } from '@moat/contract';
import type { LinkAnchors } from '@moat/link';
import type { Overlay } from '@moat/overlay';
import type { Deployments } from './deployments/deployments.ts';

export interface LinkAnchorsDeps {
  readonly self: PeerId;
  readonly overlay: Pick<Overlay, 'dial' | 'reservations'>;
  readonly deployments: Pick<Deployments, 'list'>;
}

/** Those that already keep a place for this machine come first: a connection to them stands. */
export function linkAnchors({ self, overlay, deployments }: LinkAnchorsDeps): LinkAnchors {
  return {
    of(peer) {
      const shared = deployments.list().filter(({ linkable }) => linkable.has(peer));
      const anchors = new Set(shared.flatMap(({ contract }) => contract.anchors.map(peerIdOfMultiaddr)));
      const held = new Set(overlay.reservations());
      return [...anchors]
        .filter((anchor) => anchor !== peer && anchor !== self)
        .sort((a, b) => Number(held.has(b)) - Number(held.has(a)));
    },
    async connect(anchor, signal) {
      const addresses = deployments
        .list()
        .flatMap(({ contract }) => contract.anchors)
        .filter((address) => peerIdOfMultiaddr(address) === anchor);
      if (addresses.length === 0) {
        throw new MoatError('PEER_UNREACHABLE', 'no contract names this anchor any more', {
          details: { peer: anchor },
        });
      }
      return overlay.dial([...new Set(addresses)], signal);
    },
  };
}
