/** What an operator changes while the gateway runs: who may publish, and how much. */
import type {
  CreatedInvite,
  CreateInviteRequest,
  DecidePublisherRequest,
  ForgetDeploymentRequest,
  ForgottenDeployment,
  GatewayPublisher,
} from '@moat/admin-api';
import { MoatError, isDeploymentId } from '@moat/core';
import type { Intake } from '../publications/intake.ts';
import { inviteOf, publisherOf, type GatewayFacts } from './report.ts';

/** @throws `REQUEST_INVALID` for what is no deployment id, `GATEWAY_BUSY`, `DISK_FULL`, `STORE_FAILED` */
export function decide(
  { registry }: Pick<GatewayFacts, 'registry'>,
  intake: Pick<Intake, 'decide'>,
  { deployment, rule, names }: DecidePublisherRequest,
): GatewayPublisher {
  requireId(deployment);
  return publisherOf(intake.decide(deployment, rule, names ?? null), registry.heldBy(deployment));
}

/** @throws `REQUEST_INVALID` for what is no deployment id, `DISK_FULL`, `STORE_FAILED` */
export function forget(intake: Pick<Intake, 'forget'>, { deployment }: ForgetDeploymentRequest): ForgottenDeployment {
  requireId(deployment);
  return { deployment, ...intake.forget(deployment) };
}

/** @throws `GATEWAY_BUSY`, `DISK_FULL`, `STORE_FAILED` */
export function invite(
  { clock, publishers }: Pick<GatewayFacts, 'clock' | 'publishers'>,
  { names, uses, expiresInMs }: CreateInviteRequest,
): CreatedInvite {
  const { code, record } = publishers.invite({ names: names ?? null, uses, expiresMs: clock.now() + expiresInMs });
  return { ...inviteOf(record), code };
}

function requireId(deployment: string): void {
  if (isDeploymentId(deployment)) return;
  throw new MoatError('REQUEST_INVALID', 'a deployment id has 26 characters of a-z and 2-7');
}
