/** The client side of joining: a token's keepers, one after the other. */
import { MoatError, errorCode, type Logger, type PeerId } from '@moat/core';
import { peerIdOfMultiaddr } from '@moat/contract';
import type { JoinAnswer, JoinRequest } from './deployment-view.ts';
import type { Dialer } from './dialer.ts';
import type { Join } from './join.ts';

export interface KeepersDeps {
  readonly logger: Logger;
  readonly dialer: Dialer;
  readonly join: Join;
}

/**
 * The first answer that decides. A refusal may come from a keeper that is behind, so the others are asked too.
 * @throws `NO_KEEPER_REACHABLE`, `ADDRESS_INVALID`, or the signal's reason.
 */
export async function askKeepers(
  deps: KeepersDeps,
  addresses: readonly string[],
  request: JoinRequest,
  signal: AbortSignal,
): Promise<JoinAnswer> {
  let refusal: JoinAnswer | undefined;
  let cause: unknown;
  for (const [peer, known] of byPeer(addresses)) {
    try {
      const connection = await deps.dialer.dial(known, signal);
      const answer = await deps.join.request(connection, request, signal);
      if (answer.ok || answer.code !== 'JOIN_REFUSED') return answer;
      refusal = answer;
    } catch (error) {
      signal.throwIfAborted();
      deps.logger.info({ peer, code: errorCode(error), err: error }, 'keeper not reached');
      cause = error;
    }
  }
  if (refusal !== undefined) return refusal;
  throw new MoatError('NO_KEEPER_REACHABLE', 'no keeper of this deployment can be reached now', {
    retryable: true,
    cause,
  });
}

function byPeer(addresses: readonly string[]): Map<PeerId, string[]> {
  const peers = new Map<PeerId, string[]>();
  for (const address of addresses) {
    const peer = peerIdOfMultiaddr(address);
    peers.set(peer, [...(peers.get(peer) ?? []), address]);
  }
  return peers;
}
