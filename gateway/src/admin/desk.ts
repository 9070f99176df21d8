/** The operator's wishes, wired to the parts of a running gateway that fulfil them. */
import type { Logger } from '@moat/core';
import type { AuditRecorder } from '../audit/audit-log.ts';
import type { Certificates } from '../certificates/source.ts';
import { certificateWarnings } from '../certificates/warnings.ts';
import { takeSnapshot } from '../backup/snapshot.ts';
import type { GatewayKeys } from '../gateway-keys.ts';
import type { Operations } from '../metrics/endpoint.ts';
import type { NameGrants } from '../names/name-grants.ts';
import type { Intake } from '../publications/intake.ts';
import type { SuspensionBook } from '../publications/suspensions.ts';
import type { Reloader } from '../reload.ts';
import type { GatewayStore } from '../store/store.ts';
import type { Traffic } from '../workers/traffic.ts';
import type { AdminApiDeps } from './api.ts';
import { changeName } from './change-name.ts';
import { checkAudit, readAudit } from './audit.ts';
import { decide, forget, invite, resume, suspend } from './decide.ts';
import { gatewayNames, gatewayPublishers, gatewayRoutes, gatewayStatus, type GatewayFacts } from './report.ts';

export interface DeskParts {
  readonly logger: Logger;
  readonly traffic: Traffic;
  readonly intake: Intake;
  readonly grants: NameGrants;
  readonly suspensions: SuspensionBook;
  readonly store: GatewayStore;
  readonly keys: GatewayKeys;
  readonly certificates: Pick<Certificates, 'list'>;
  readonly audit: AuditRecorder;
  readonly reloader: Reloader;
  readonly operations: Operations;
  readonly version: string;
  onStopAsked(drainMs: number | undefined): void;
  onRestartAsked(): void;
}

export function operatorsDesk(facts: GatewayFacts, parts: DeskParts): AdminApiDeps {
  const { audit, grants, intake, keys, operations, reloader, store, suspensions, traffic } = parts;
  const { config, registry } = facts;
  const { peerId } = keys.key;
  /** What was changed is in force at every worker before whoever changed it is told. */
  const done = async <T>(result: T): Promise<T> => {
    await traffic.settled();
    return result;
  };
  return {
    logger: parts.logger,
    operations: (...exchange) => operations.answer(...exchange),
    status: async () => {
      await traffic.refresh();
      const status = gatewayStatus(facts);
      const warnings = certificateWarnings(parts.certificates.list(), facts.clock.now());
      return { ...status, warnings: [...status.warnings, ...warnings] };
    },
    names: () => gatewayNames(facts),
    changeName: (request) => done(changeName({ ...facts, intake, grants }, config.domain, request)),
    certificates: () => parts.certificates.list(),
    routes: () => gatewayRoutes(facts),
    publishers: () => gatewayPublishers(facts),
    decide: (request) => {
      const decided = decide({ registry }, intake, request);
      if (request.rule === 'allow') resume(config, suspensions, intake, { subject: request.deployment });
      // Whoever is known now is not warned of any more.
      if (facts.config.interstitial === 'unverified') intake.recheck(request.deployment);
      return done(decided);
    },
    suspend: (request) => done(suspend(config, suspensions, intake, request)),
    resume: (request) => done(resume(config, suspensions, intake, request)),
    audit: (afterSeq, sinceMs) => readAudit(store.audit, afterSeq, sinceMs),
    checkAudit: () => checkAudit(store.audit),
    forget: (request) => done(forget(intake, request)),
    invite: (request) => invite(facts, request),
    rotateKey: async (finish) => {
      if (!finish) {
        const next = await keys.begin();
        audit.record({ action: 'key.begun', actor: 'operator', details: { peer: peerId, next } });
        traffic.identityChanged();
        return { peerId, next };
      }
      const next = await keys.finish();
      audit.record({ action: 'key.rotated', actor: 'operator', details: { peer: next } });
      parts.onRestartAsked();
      return { peerId: next, next: null };
    },
    backup: async () => {
      // The line is part of what is copied.
      audit.record({ action: 'backup.made', actor: 'operator' });
      const { directory, files } = await takeSnapshot(config, store);
      return { directory, files, domain: config.domain, peer: peerId, version: parts.version };
    },
    reload: async () => done(await reloader.reload()),
    restartWorkers: async () => {
      await traffic.restart();
      audit.record({ action: 'workers.restarted', actor: 'operator' });
    },
    stop: ({ drainMs }) => {
      if (drainMs !== undefined) audit.record({ action: 'gateway.draining', actor: 'operator', details: { drainMs } });
      parts.onStopAsked(drainMs);
    },
  };
}
