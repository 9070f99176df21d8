/** What an exchange that failed says about the way. */
import { isMoatError } from '@moat/core';

import type { PathReason } from './path-state.ts';

/** True where what is missing may be back any moment. */
export function isUnreached(why: PathReason): boolean {
  return ['PEER_UNREACHABLE', 'PEER_REFUSED', 'NO_ANCHOR', 'PEER_NO_ANCHOR'].includes(why);
}

/** The reason that the error of an exchange with the peer gives. */
export function reasonOfFailure(error: unknown): PathReason {
  if (isMoatError(error, 'PATH_REFUSED')) return error.details['code'] === 'PATH_BUSY' ? 'PEER_BUSY' : 'PEER_REFUSED';
  if (isMoatError(error, 'PROTOCOL_UNSUPPORTED')) return 'PEER_REFUSED';
  return 'PEER_UNREACHABLE';
}
