import type { PeerId } from '@moat/core';

/**
 * Where peers were reached. Ours is the truth; libp2p's peer store is only a cache that forgets.
 * Implementations keep at most {@link ADDRESSES_PER_PEER} a peer, newest first.
 */
export interface AddressBook {
  /** Multiaddrs without `/p2p/`, best first. */
  known(peer: PeerId): readonly string[];
  /** Remembers addresses, newest first; called only for peers that share a deployment or were named by an owner. */
  learn(peer: PeerId, addresses: readonly string[]): void;
}

/** Addresses remembered of one peer; older ones are dropped. */
export const ADDRESSES_PER_PEER = 8;

/** An address book that lives as long as the process. Bound: `maxPeers`, the least recently learned is dropped. */
export function createMemoryAddressBook(maxPeers: number = 4096): AddressBook {
  const peers = new Map<PeerId, readonly string[]>();
  return {
    known: (peer) => peers.get(peer) ?? [],
    learn(peer, addresses) {
      const merged = [...new Set([...addresses, ...(peers.get(peer) ?? [])])].slice(0, ADDRESSES_PER_PEER);
      peers.delete(peer);
      peers.set(peer, merged);
      const [oldest] = peers.keys();
      if (peers.size > maxPeers && oldest !== undefined) peers.delete(oldest);
    },
  };
}
