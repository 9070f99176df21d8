/**
 * What every deployment has shown here, and which of its members are upstreams. A member becomes one by showing the
 * publication itself on this run of the gateway: the store remembers what may be served, never who is there.
 */
import type { Clock, DeploymentId, PeerId } from '@moat/core';
import { mayServe, parseTime, servicesServedBy, type Heir, type Publication } from '@moat/contract';
import { hostOfName } from '../names/host.ts';
import { portKey } from '../names/port.ts';
import type { EdgeRules } from './edge-rules.ts';
import type { Opaque, RouteSpec } from '../routes/snapshot.ts';
import type { DeploymentRecord } from '../store/store.ts';

export interface LedgerDeps {
  readonly clock: Clock;
  readonly edgeRules: EdgeRules;
}

/** A machine that was an upstream of a deployment and is none any more. */
export interface Dropped {
  readonly deployment: DeploymentId;
  readonly peer: PeerId;
}

export interface LedgerOptions {
  readonly domain: string;
}

export class Ledger {
  readonly #deps: LedgerDeps;
  readonly #options: LedgerOptions;
  readonly #records = new Map<DeploymentId, DeploymentRecord>();
  /** Peers that showed a deployment's publications; bounded by the places those list. */
  readonly #presented = new Map<DeploymentId, Set<PeerId>>();
  /** Deployments that each peer is an upstream of: asked for each link at each change. */
  readonly #reasons = new Map<PeerId, number>();

  constructor(deps: LedgerDeps, options: LedgerOptions, records: readonly DeploymentRecord[]) {
    this.#deps = deps;
    this.#options = options;
    for (const record of records) this.#records.set(record.deployment, record);
  }

  get size(): number {
    return this.#records.size;
  }

  get(deployment: DeploymentId): DeploymentRecord | undefined {
    return this.#records.get(deployment);
  }

  list(): DeploymentRecord[] {
    return [...this.#records.values()];
  }

  /** Takes over a record that is on disk now. */
  apply(record: DeploymentRecord, presenter?: PeerId): void {
    this.#records.set(record.deployment, record);
    if (presenter === undefined) return;
    const presented = this.#presented.get(record.deployment) ?? new Set();
    if (presented.has(presenter)) return;
    this.#presented.set(record.deployment, presented.add(presenter));
    this.#reasons.set(presenter, (this.#reasons.get(presenter) ?? 0) + 1);
  }

  /** Members that hold no place any more are upstreams no more: dropped by a version, or their membership ended. */
  dropPlaceless(deployment: DeploymentId): Dropped[] {
    const record = this.#records.get(deployment);
    const nowMs = this.#deps.clock.now();
    return [...this.upstreams(deployment)]
      .filter((peer) => record === undefined || !holdsPlace(record, peer, nowMs))
      .map((peer) => this.#drop(deployment, peer));
  }

  /** No member of the deployment is an upstream until it shows its publications again. */
  dropAll(deployment: DeploymentId): Dropped[] {
    return [...this.upstreams(deployment)].map((peer) => this.#drop(deployment, peer));
  }

  /** Forgets a deployment whole; whoever shows it again is new here. */
  forget(deployment: DeploymentId): void {
    this.dropAll(deployment);
    this.#records.delete(deployment);
  }

  /** Members of the deployment that are upstreams. */
  upstreams(deployment: DeploymentId): ReadonlySet<PeerId> {
    return this.#presented.get(deployment) ?? new Set();
  }

  /** True when the peer is an upstream of something, which is what it may have a link for. */
  isUpstream(peer: PeerId): boolean {
    return this.#reasons.has(peer);
  }

  /** When the next membership of an upstream of the deployment ends, in milliseconds since the epoch. */
  nextEndMs(deployment: DeploymentId): number | undefined {
    if (!this.#presented.has(deployment)) return undefined;
    const nowMs = this.#deps.clock.now();
    const ends = (this.#records.get(deployment)?.publications ?? []).flatMap(({ members }) =>
      members.flatMap((member) => (member.ends === undefined ? [] : parseTime(member.ends))),
    );
    // Without spread: a contract may have thousands of places.
    return ends.reduce<number | undefined>(
      (next, end) => (end > nowMs && (next === undefined || end < next) ? end : next),
      undefined,
    );
  }

  /** The publication behind `host` in what `deployment` has shown. */
  publicationAt(deployment: DeploymentId, host: string): Publication | undefined {
    return this.#find(deployment, host, ({ transfer }) => transfer === undefined);
  }

  /** To whom `deployment` gives the name `host`. */
  heirOf(deployment: DeploymentId, host: string): Heir | undefined {
    return this.#find(deployment, host, ({ transfer }) => transfer !== undefined)?.transfer;
  }

  /** Routes of what the deployment publishes under names that it `holds`. */
  routes(deployment: DeploymentId, holds: (host: string) => boolean): RouteSpec[] {
    const record = this.#records.get(deployment);
    if (record === undefined) return [];
    const routes = new Map<string, RouteSpec>();
    const nowMs = this.#deps.clock.now();
    const presented = [...this.upstreams(deployment)];
    for (const publication of record.publications) {
      const host = this.hostOf(publication.name);
      if (host === undefined || routes.has(host) || !holds(host) || publication.transfer !== undefined) continue;
      const { service, port } = publication;
      if (port !== undefined && !holds(portKey(port))) continue;
      const serving = presented.map((peer) => ({
        peer,
        services: servicesServedBy(publication, peer, record.claims, nowMs),
      }));
      const membersOf = (wanted: string): PeerId[] =>
        serving.flatMap(({ peer, services }) => (services.includes(wanted) ? [peer] : []));
      const { rules, others } = publication;
      const auth = this.#deps.edgeRules.authOf(publication);
      const opaque = opaqueOf(publication);
      const spec: RouteSpec = {
        host,
        deployment,
        service,
        members: membersOf(service),
        ...(rules === undefined ? {} : { rules }),
        ...(others === undefined
          ? {}
          : { others: others.map((other) => ({ service: other.service, members: membersOf(other.service) })) }),
        ...(auth === undefined ? {} : { auth }),
        ...(opaque === undefined ? {} : { opaque }),
        ...(port === undefined ? {} : { port }),
      };
      routes.set(host, spec);
      if (port !== undefined) routes.set(portKey(port), { ...spec, host: portKey(port) });
    }
    return [...routes.values()];
  }

  #find(deployment: DeploymentId, host: string, fits: (publication: Publication) => boolean): Publication | undefined {
    const publications = this.#records.get(deployment)?.publications ?? [];
    return publications.find((publication) => fits(publication) && this.hostOf(publication.name) === host);
  }

  hostOf(name: string): string | undefined {
    return hostOfName(name, this.#options.domain);
  }

  #drop(deployment: DeploymentId, peer: PeerId): Dropped {
    const presented = this.#presented.get(deployment);
    if (presented?.delete(peer)) {
      if (presented.size === 0) this.#presented.delete(deployment);
      const left = (this.#reasons.get(peer) ?? 1) - 1;
      if (left > 0) this.#reasons.set(peer, left);
      else this.#reasons.delete(peer);
    }
    return { deployment, peer };
  }
}

function opaqueOf({ kind, tls, port }: Publication): Opaque | undefined {
  if (port !== undefined) return 'port';
  if (tls === 'passthrough') return 'passthrough';
  return kind === 'tcp' ? 'terminated' : undefined;
}

function holdsPlace(record: DeploymentRecord, peer: PeerId, nowMs: number): boolean {
  return record.publications.some((publication) => mayServe(publication, peer, record.claims, nowMs));
}
