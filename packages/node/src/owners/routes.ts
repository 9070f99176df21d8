/** Where the keepers of a deployment can be dialed from here. */
import type { PeerId } from '@moat/core';
import type { AddressBook } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';

/** One keeper with its multiaddrs, direct ones first. */
export interface Route {
  readonly peer: PeerId;
  /** Empty where only the overlay may know one. */
  readonly addresses: readonly string[];
}

/** Pinned keepers in the order of their names: known addresses, located ones, then through the contract's anchors. */
export function routesTo(deployment: Deployment, addressBook: AddressBook, located: readonly string[]): Route[] {
  const byPeer = addressesByPeer(located);
  const keepers = deployment.view.keepers().filter(({ state }) => state === 'pinned');
  return keepers
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ peer }) => {
      if (peer === null) return [];
      const known = addressBook.known(peer).map((address) => `${withoutPeer(address)}/p2p/${peer}`);
      const relayed = deployment.contract.anchors.map((anchor) => `${anchor}/p2p-circuit/p2p/${peer}`);
      const addresses = [...new Set([...known, ...(byPeer.get(peer) ?? []), ...relayed])];
      return [{ peer, addresses }];
    });
}

/** Multiaddrs by the PeerId they end with. */
export function addressesByPeer(addresses: readonly string[]): ReadonlyMap<PeerId, readonly string[]> {
  const byPeer = new Map<PeerId, string[]>();
  for (const address of addresses) {
    const at = address.lastIndexOf('/p2p/');
    if (at < 0) continue;
    const peer = address.slice(at + '/p2p/'.length);
    byPeer.set(peer, [...(byPeer.get(peer) ?? []), address]);
  }
  return byPeer;
}

/** A direct address as the address book keeps it. */
export function withoutPeer(address: string): string {
  const at = address.lastIndexOf('/p2p/');
  return at < 0 || address.includes('/p2p-circuit') ? address : address.slice(0, at);
}
