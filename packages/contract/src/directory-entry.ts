/** The shapes of the public directory: who wishes to be found says so itself, signed, for a time. Nothing of a deployment is in it. */
import type { OwnerKey, PeerId } from '@moat/core';

/** What a machine does for others. */
export type DirectoryRole = 'anchor' | 'gateway' | 'node' | 'relay';

/** A machine: a node or a gateway. */
export interface NodeEntry {
  readonly type: 'moat/directory/1';
  readonly kind: 'node';
  readonly node: PeerId;
  /** Higher is newer: milliseconds since 1970 at signing. */
  readonly number: number;
  readonly expires: string;
  /** Sorted. */
  readonly roles: readonly DirectoryRole[];
  /** Of a gateway. */
  readonly domain?: string;
  /** As its operator calls it: `eu-west`. */
  readonly region?: string;
  /** Multiaddrs with `/p2p/<PeerId>` at which it takes connections; sorted. */
  readonly addresses: readonly string[];
  /** Peers it can still relay for. */
  readonly relayCapacity?: number;
  /** Percent of what it can do. */
  readonly load?: number;
  /** What its operator asks of those who use it: a sentence or an address. */
  readonly terms?: string;
  /** Who may use it in their deployments; sorted keys of owners where it is dedicated; absent = it is not on offer. */
  readonly offeredTo?: 'anyone' | readonly OwnerKey[];
}

/** A person or a bot: a handle that leads to a key of an owner. */
export interface PersonEntry {
  readonly type: 'moat/directory/1';
  readonly kind: 'person';
  /** Not unique: two keys may have one handle, and whoever asks is told of both. */
  readonly handle: string;
  readonly bot?: true;
  /** The key it began with: stays when keys change, and is what tells two of one handle apart. */
  readonly root: OwnerKey;
  /** From `root` to the key in force, oldest first. */
  readonly rotations: readonly KeyRotation[];
  /** Higher is newer: milliseconds since 1970 at signing. */
  readonly number: number;
  readonly expires: string;
  /** How to be reached: an address, a page. */
  readonly contact?: string;
}

/** One key gives its handle to the next; both sign `{ type, root, from, to }`. */
export interface KeyRotation {
  readonly to: OwnerKey;
  readonly before: string;
  readonly after: string;
}

export type DirectoryEntry = NodeEntry | PersonEntry;

export interface SignedEntry {
  readonly entry: DirectoryEntry;
  /** Of the machine, or of the person's key in force. */
  readonly signature: string;
}
