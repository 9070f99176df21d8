/** What the operator does with names: gives one that nobody gets by being first, hands one on, sets one free. */
import type { ChangeNameRequest, ChangedName } from '@moat/admin-api';
import { MoatError, isDeploymentId, type Clock, type DeploymentId } from '@moat/core';
import type { AuditAction, AuditEvent } from '../audit/chain.ts';
import { refusal } from '../errors.ts';
import { givenTo } from '../names/give.ts';
import { hostOfName, isUnderDomain } from '../names/host.ts';
import type { NameGrants } from '../names/name-grants.ts';
import type { NameRegistry } from '../names/registry.ts';
import type { Intake } from '../publications/intake.ts';
import type { Ledger } from '../publications/ledger.ts';
import type { NameRecord } from '../store/store.ts';

export interface ChangeNameDeps {
  readonly clock: Clock;
  readonly registry: Pick<NameRegistry, 'get'>;
  readonly ledger: Pick<Ledger, 'publicationAt'>;
  readonly grants: NameGrants;
  readonly intake: Pick<Intake, 'changeNames'>;
}

/** @throws `REQUEST_INVALID`, `NAME_FREE`, `NAME_PUBLISHED`, `GATEWAY_BUSY`, `DISK_FULL`, `STORE_FAILED` */
export function changeName(deps: ChangeNameDeps, domain: string, request: ChangeNameRequest): ChangedName {
  const host = hostOfName(request.name.toLowerCase(), domain);
  if (host === undefined || host === domain) throw invalid('not a name');
  const current = deps.registry.get(host);
  if (request.action === 'release') return release(deps, current, host);
  const { deployment } = request;
  if (deployment === undefined || !isDeploymentId(deployment)) {
    throw invalid('a deployment id has 26 characters of a-z and 2-7');
  }
  if (request.action === 'allow') return allow(deps, host, deployment);
  if (!isUnderDomain(host, domain)) throw invalid(`whose ${host} is, the DNS says`);
  if (current === undefined) throw free(host);
  return transfer(deps, current, deployment);
}

function allow(deps: ChangeNameDeps, host: string, deployment: DeploymentId): ChangedName {
  const grant = deps.grants.prepare(host, deployment);
  deps.intake.changeNames({ grants: [grant], audit: [lineOf('name.held', host, { deployment })] });
  deps.grants.apply(grant);
  return { host, holder: deps.registry.get(host)?.deployment ?? null };
}

function transfer(deps: ChangeNameDeps, current: NameRecord, deployment: DeploymentId): ChangedName {
  const { host, deployment: from } = current;
  // Should its lease end, nobody but the new holder claims it more easily than before.
  const grant = deps.grants.prepare(host, deployment);
  const names = [givenTo(current, deployment, deps.clock.now())];
  deps.intake.changeNames({ names, grants: [grant], audit: [lineOf('name.transferred', host, { from, deployment })] });
  deps.grants.apply(grant);
  return { host, holder: deployment };
}

function release(deps: ChangeNameDeps, current: NameRecord | undefined, host: string): ChangedName {
  if (current === undefined) throw free(host);
  const { deployment } = current;
  if (deps.ledger.publicationAt(deployment, host) !== undefined) {
    const message = `deployment ${deployment} publishes ${host}, and would have it back at once`;
    throw refusal('NAME_PUBLISHED', message, { details: { host, deployment } });
  }
  deps.intake.changeNames({ released: [current], audit: [lineOf('name.released', host, { deployment })] });
  return { host, holder: null };
}

function lineOf(action: AuditAction, subject: string, details: NonNullable<AuditEvent['details']>): AuditEvent {
  return { action, actor: 'operator', subject, details };
}

function free(host: string): MoatError {
  return refusal('NAME_FREE', `nobody holds ${host}`, { details: { host } });
}

function invalid(message: string): MoatError {
  return new MoatError('REQUEST_INVALID', message);
}
