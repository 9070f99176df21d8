/** Spends an invite code of a gateway's operator on a deployment. The code is passed on and kept nowhere. */
import { MoatError, isDeploymentId } from '@moat/core';
import type { RedeemRequest } from '@moat/admin-api';
import type { Overlay } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import { plainAnswer } from '../remote-text.ts';

const REDEEM_MS = 15_000;

export interface RedeemDeps {
  readonly overlay: Pick<Overlay, 'dial' | 'redeem'>;
}

/** @throws `REQUEST_INVALID`, `PEER_UNREACHABLE`, `PUBLISH_TIMEOUT`, and the gateway's own code: `CODE_INVALID`, `CODE_GUESSES`, `PUBLISHER_REFUSED` */
export async function redeemCode(
  { overlay }: RedeemDeps,
  { deployment, addresses, code }: RedeemRequest,
  signal: AbortSignal,
): Promise<void> {
  if (!isDeploymentId(deployment)) {
    throw new MoatError('REQUEST_INVALID', 'a deployment id has 26 characters of a-z and 2-7');
  }
  const late = new MoatError('PUBLISH_TIMEOUT', 'the gateway did not answer in time', { retryable: true });
  const limited = deadline(REDEEM_MS, late, signal);
  const connection = await overlay.dial(addresses, limited);
  const answer = plainAnswer(await overlay.redeem(connection, { deployment, code }, limited));
  if (!answer.ok) throw new MoatError(answer.code, answer.message);
}
