/**
 * What every deployment has shown here, and which of its members are upstreams. A member becomes one by showing the
 * publication itself on this run of the gateway: the store remembers what may be served, never who is there.
 */
import type { DeploymentId, PeerId } from '@moat/core';
import { mayServe, type Publication } from '@moat/contract';
import { hostOfName } from '../names/host.ts';
import type { RouteSpec } from '../routes/snapshot.ts';
import type { DeploymentRecord } from '../store/store.ts';

export interface LedgerOptions {
  readonly domain: string;
}

export class Ledger {
  readonly #options: LedgerOptions;
  readonly #records = new Map<DeploymentId, DeploymentRecord>();
  /** Peers that showed a deployment's publications; bounded by the places those list. */
  readonly #presented = new Map<DeploymentId, Set<PeerId>>();

  constructor(options: LedgerOptions, records: readonly DeploymentRecord[]) {
    this.#options = options;
    for (const record of records) this.#records.set(record.deployment, record);
  }

  get size(): number {
    return this.#records.size;
  }

  get(deployment: DeploymentId): DeploymentRecord | undefined {
    return this.#records.get(deployment);
  }

  /** Takes over a record that is on disk now; members without a place in it are upstreams no more. */
  apply(record: DeploymentRecord, presenter?: PeerId): void {
    this.#records.set(record.deployment, record);
    const presented = this.#presented.get(record.deployment) ?? new Set();
    if (presenter !== undefined) presented.add(presenter);
    for (const peer of presented) if (!holdsPlace(record, peer)) presented.delete(peer);
    this.#presented.set(record.deployment, presented);
  }

  /** True when the peer is an upstream of something, which is what it may have a link for. */
  isUpstream(peer: PeerId): boolean {
    for (const presented of this.#presented.values()) if (presented.has(peer)) return true;
    return false;
  }

  /** The publication behind `host` in what `deployment` has shown. */
  publicationAt(deployment: DeploymentId, host: string): Publication | undefined {
    return this.#records.get(deployment)?.publications.find(({ name }) => this.hostOf(name) === host);
  }

  /** Routes of everything published under names that `holder` gives to the publishing deployment. */
  routes(holder: (host: string) => DeploymentId | undefined): RouteSpec[] {
    const routes = new Map<string, RouteSpec>();
    for (const record of this.#records.values()) {
      const presented = [...(this.#presented.get(record.deployment) ?? [])];
      for (const publication of record.publications) {
        const host = this.hostOf(publication.name);
        if (host === undefined || routes.has(host) || holder(host) !== record.deployment) continue;
        const { deployment, service } = publication;
        const members = presented.filter((peer) => mayServe(publication, peer, record.claims));
        routes.set(host, { host, deployment, service, members });
      }
    }
    return [...routes.values()];
  }

  hostOf(name: string): string | undefined {
    return hostOfName(name, this.#options.domain);
  }
}

function holdsPlace(record: DeploymentRecord, peer: PeerId): boolean {
  return record.publications.some((publication) => mayServe(publication, peer, record.claims));
}
