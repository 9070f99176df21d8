/**
 * Names that the operator gave to a deployment, whatever else speaks against them: reserved ones, and those that look like
 * another. A grant outlives the name's holder; it gives the right to claim, not the name.
 * Bound: `maxGrants`; one more is refused, nothing that is there is dropped.
 */
import type { Clock, DeploymentId } from '@moat/core';
import { refusal } from '../errors.ts';
import type { GatewayStore, NameGrantRecord } from '../store/store.ts';

export interface NameGrantsDeps {
  readonly clock: Clock;
  readonly store: Pick<GatewayStore, 'nameGrants' | 'commit'>;
}

export interface NameGrantsOptions {
  /** @defaultValue 100000 */
  readonly maxGrants?: number;
}

const DEFAULT_MAX_GRANTS = 100_000;

export class NameGrants {
  readonly #deps: NameGrantsDeps;
  readonly #options: NameGrantsOptions;
  /** One deployment a host. */
  readonly #records: Map<string, NameGrantRecord>;

  constructor(deps: NameGrantsDeps, options: NameGrantsOptions = {}) {
    this.#deps = deps;
    this.#options = options;
    this.#records = new Map(deps.store.nameGrants().map((record) => [record.host, record]));
  }

  isGranted(host: string, deployment: DeploymentId): boolean {
    return this.#records.get(host)?.deployment === deployment;
  }

  /** The record of a grant, not kept yet. @throws `GATEWAY_BUSY` */
  prepare(host: string, deployment: DeploymentId): NameGrantRecord {
    if (!this.#records.has(host) && this.#records.size >= (this.#options.maxGrants ?? DEFAULT_MAX_GRANTS)) {
      throw refusal('GATEWAY_BUSY', 'this gateway keeps as many grants of names as it may');
    }
    return { host, deployment, sinceMs: this.#deps.clock.now() };
  }

  /** Takes over a record that is on disk now. */
  apply(record: NameGrantRecord): void {
    this.#records.set(record.host, record);
  }
}
