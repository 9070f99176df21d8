/** What an operator changes while the gateway runs: who may publish, and how much. */
import type {
  CreatedInvite,
  CreateInviteRequest,
  DecidePublisherRequest,
  ForgetDeploymentRequest,
  ForgottenDeployment,
  GatewayPublisher,
  GatewaySuspension,
  Resumed,
  ResumeRequest,
  SuspendRequest,
} from '@moat/admin-api';
import { MoatError, isDeploymentId } from '@moat/core';
import { hostOfName } from '../names/host.ts';
import type { Intake } from '../publications/intake.ts';
import type { SuspensionBook } from '../publications/suspensions.ts';
import { inviteOf, publisherOf, suspensionOf, type GatewayFacts } from './report.ts';

/** @throws `REQUEST_INVALID` for what is no deployment id, `GATEWAY_BUSY`, `DISK_FULL`, `STORE_FAILED` */
export function decide(
  { registry }: Pick<GatewayFacts, 'registry'>,
  intake: Pick<Intake, 'decide'>,
  { deployment, rule, names }: DecidePublisherRequest,
): GatewayPublisher {
  requireId(deployment);
  return publisherOf(intake.decide(deployment, rule, names ?? null), registry.heldBy(deployment));
}

/** Clients and members hear of it at once. @throws `REQUEST_INVALID`, `GATEWAY_BUSY`, `DISK_FULL`, `STORE_FAILED` */
export function suspend(
  { domain }: { readonly domain: string },
  suspensions: SuspensionBook,
  intake: Pick<Intake, 'recheck'>,
  { subject: named, status, note }: SuspendRequest,
): GatewaySuspension {
  const subject = subjectOf(named, domain);
  const record = suspensions.suspend({ subject, status, note: note ?? null });
  intake.recheck(subject);
  return suspensionOf(record);
}

/** @throws `REQUEST_INVALID`, `DISK_FULL`, `STORE_FAILED` */
export function resume(
  { domain }: { readonly domain: string },
  suspensions: SuspensionBook,
  intake: Pick<Intake, 'recheck'>,
  { subject: named }: ResumeRequest,
): Resumed {
  const subject = subjectOf(named, domain);
  const changed = suspensions.resume(subject);
  if (changed) intake.recheck(subject);
  return { subject, changed };
}

/** A deployment's id as it is, a name as the whole host. */
function subjectOf(named: string, domain: string): string {
  if (isDeploymentId(named)) return named;
  const host = hostOfName(named, domain);
  if (host !== undefined && host !== domain) return host;
  throw new MoatError('REQUEST_INVALID', 'neither a name nor a deployment id');
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
