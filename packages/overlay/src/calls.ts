/** What the overlay offers to others takes any connection; the protocols take the overlay's own record of it. */
import type { PeerConnection } from '@moat/core';
import type { OverlayConnection } from './connection.ts';
import type { Directory } from './directory.ts';
import type { DirectoryCalls, KeeperCalls } from './overlay.ts';
import type { Proposals } from './proposals.ts';

/** @throws `PEER_UNREACHABLE` for a connection that is gone */
type RecordOf = (connection: PeerConnection) => OverlayConnection;

export function keeperCalls(proposals: Proposals, recordOf: RecordOf): KeeperCalls {
  return {
    list: async (c, ...request) => proposals.list(recordOf(c), ...request),
    get: async (c, ...request) => proposals.get(recordOf(c), ...request),
    put: async (c, ...request) => proposals.put(recordOf(c), ...request),
    take: async (c, ...request) => proposals.take(recordOf(c), ...request),
    pull: async (c, ...request) => proposals.pull(recordOf(c), ...request),
  };
}

export function directoryCalls(directory: Directory, recordOf: RecordOf): DirectoryCalls {
  return {
    put: async (c, ...request) => directory.put(recordOf(c), ...request),
    list: async (c, ...request) => directory.list(recordOf(c), ...request),
  };
}
