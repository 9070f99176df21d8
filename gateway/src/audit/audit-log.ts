/** The audit log for whoever has nothing else to keep: one line, on disk when the call returns. */
import { errorCode, type Clock, type Logger } from '@moat/core';
import type { GatewayStore } from '../store/store.ts';
import type { AuditEvent } from './chain.ts';

export interface AuditLogDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: Pick<GatewayStore, 'commit' | 'pruneAudit'>;
}

export interface AuditLogOptions {
  /** Lines older than this are dropped. */
  readonly keepMs: number;
  /** Lines above this number are dropped, the oldest first. */
  readonly keepLines: number;
}

/** Says what happened, for good. */
export type AuditRecorder = Pick<AuditLog, 'record'>;

export class AuditLog {
  readonly #deps: AuditLogDeps;
  #options: AuditLogOptions;

  constructor(deps: AuditLogDeps, options: AuditLogOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  reconfigure(options: AuditLogOptions): void {
    this.#options = options;
  }

  /** For what happened whether or not it can be kept: a full disk is reported, and what happened stays so. */
  record(event: AuditEvent): void {
    try {
      this.#deps.store.commit({ audit: [event] });
    } catch (err) {
      const fields = { component: 'gateway.audit', err, code: errorCode(err), action: event.action };
      this.#deps.logger.error(fields, 'audit line not kept');
    }
  }

  /** To call about every hour: drops what need not be kept any more. */
  sweep(): void {
    const { clock, logger, store } = this.#deps;
    const { keepMs, keepLines } = this.#options;
    try {
      while (store.pruneAudit(clock.now() - keepMs, keepLines) > 1);
    } catch (err) {
      logger.error({ component: 'gateway.audit', err, code: errorCode(err) }, 'audit lines not dropped');
    }
  }
}
