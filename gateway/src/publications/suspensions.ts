/**
 * Names and deployments that the operator took off the air. What is suspended keeps its names, its members and their links,
 * so that nothing has to be found again afterwards; only nobody comes in. A name's suspension belongs to the name: it
 * outlives whoever holds it.
 * Bound: `maxSuspensions`; one more is refused, nothing that is there is dropped.
 */
import type { Clock, DeploymentId } from '@moat/core';
import type { AuditEvent } from '../audit/chain.ts';
import { refusal } from '../errors.ts';
import type { GatewayStore, SuspensionRecord, SuspensionStatus } from '../store/store.ts';

export interface SuspensionBookDeps {
  readonly clock: Clock;
  readonly store: Pick<GatewayStore, 'suspensions' | 'commit'>;
}

export interface SuspensionBookOptions {
  /** @defaultValue 100000 */
  readonly maxSuspensions?: number;
}

export interface NewSuspension {
  /** Whole host name, or id of a deployment. */
  readonly subject: string;
  readonly status: SuspensionStatus;
  readonly note: string | null;
}

const DEFAULT_MAX_SUSPENSIONS = 100_000;

export class SuspensionBook {
  readonly #deps: SuspensionBookDeps;
  readonly #options: SuspensionBookOptions;
  readonly #records: Map<string, SuspensionRecord>;

  constructor(deps: SuspensionBookDeps, options: SuspensionBookOptions = {}) {
    this.#deps = deps;
    this.#options = options;
    this.#records = new Map(deps.store.suspensions().map((record) => [record.subject, record]));
  }

  /** Oldest first. */
  list(): SuspensionRecord[] {
    return [...this.#records.values()].sort((a, b) => a.sinceMs - b.sinceMs);
  }

  get(subject: string): SuspensionRecord | undefined {
    return this.#records.get(subject);
  }

  /** What keeps `host` of `deployment` off the air: the name's own suspension goes before its holder's. */
  of(host: string, deployment: DeploymentId): SuspensionRecord | undefined {
    if (this.#records.size === 0) return undefined;
    return this.#records.get(host) ?? this.#records.get(deployment);
  }

  /** @throws `GATEWAY_BUSY`, and what the store throws */
  suspend({ subject, status, note }: NewSuspension): SuspensionRecord {
    const max = this.#options.maxSuspensions ?? DEFAULT_MAX_SUSPENSIONS;
    if (!this.#records.has(subject) && this.#records.size >= max) {
      throw refusal('GATEWAY_BUSY', 'this gateway keeps as many suspensions as it may');
    }
    const record = { subject, status, note, sinceMs: this.#deps.clock.now() };
    const event = { ...auditOf(subject, 'suspended'), details: { status, note } };
    this.#deps.store.commit({ suspensions: [record], audit: [event] });
    this.#records.set(subject, record);
    return record;
  }

  /** Returns false where nothing was suspended. @throws what the store throws */
  resume(subject: string): boolean {
    if (!this.#records.has(subject)) return false;
    this.#deps.store.commit({ resumed: [subject], audit: [auditOf(subject, 'resumed')] });
    this.#records.delete(subject);
    return true;
  }
}

/** What its publisher is told. */
export function suspensionRefusal({ subject, note }: SuspensionRecord): ReturnType<typeof refusal> {
  const why = note === null ? '' : `: ${note}`;
  return refusal('NAME_SUSPENDED', `the operator of this gateway suspended ${subject}${why}`, { details: { subject } });
}

/** A host has a dot, an id has none. */
function auditOf(subject: string, what: 'suspended' | 'resumed'): AuditEvent {
  return { action: `${subject.includes('.') ? 'name' : 'publisher'}.${what}`, actor: 'operator', subject };
}
