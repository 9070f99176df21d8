/** How a peer is reached now, and what was tried: the facts behind `status` and `explain`. */
import type { PeerId } from '@moat/core';
import type { AddressBook } from './address-book.ts';
import type { OverlayConnection } from './connection.ts';
import type { DialFailure, Dialer } from './dialer.ts';
import type { Neighbours } from './neighbours.ts';

export interface Reach {
  /** Null while there is no connection. */
  readonly path: 'direct' | 'relayed' | null;
  /** `host:port` the bytes of a direct connection go to. */
  readonly address: string | null;
  /** Whoever relays. */
  readonly anchor: PeerId | null;
  /** Direct addresses that are known of the peer. */
  readonly known: number;
  /** What became of the last direct dial of each address; empty again once one worked. */
  readonly failures: readonly DialFailure[];
}

export interface ReachDeps {
  readonly dialer: Dialer;
  readonly addressBook: AddressBook;
  readonly neighbours: Neighbours;
}

export function reachOf({ dialer, addressBook, neighbours }: ReachDeps, peer: PeerId): Reach {
  const [connection] = dialer.connections(peer);
  const remote = connection?.remote ?? null;
  const addresses = [...addressBook.known(peer), ...neighbours.known(peer)];
  return {
    path: connection === undefined ? null : connection.relayed ? 'relayed' : 'direct',
    address: remote === null ? null : `${remote.host}:${remote.port}`,
    anchor: connection === undefined ? null : anchorOf(connection),
    known: new Set(addresses.filter((address) => !address.includes('/p2p-circuit'))).size,
    failures: dialer.failures(peer),
  };
}

/** `/…/p2p/<anchor>/p2p-circuit/…` */
function anchorOf({ relayed, raw }: OverlayConnection): PeerId | null {
  if (!relayed) return null;
  return /\/p2p\/([^/]+)\/p2p-circuit/.exec(raw.remoteAddr.toString())?.[1] ?? null;
}
