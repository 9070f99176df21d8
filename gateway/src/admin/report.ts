/** What the admin API says, read from the parts at the moment it is asked. */
import type { Clock, Links, PeerId } from '@moat/core';
import type {
  GatewayInvite,
  GatewayName,
  GatewayPublisher,
  GatewayPublishers,
  GatewayRoute,
  GatewayStatus,
  GatewaySuspension,
  GatewayWorker,
} from '@moat/admin-api';
import type { LocalAuthority } from '../certificates/local-ca.ts';
import type { GatewayConfig } from '../config.ts';
import { isUnderDomain } from '../names/host.ts';
import type { NameRegistry } from '../names/registry.ts';
import type { Intake } from '../publications/intake.ts';
import { inviteId } from '../publications/invite-code.ts';
import type { Ledger } from '../publications/ledger.ts';
import type { PublisherBook } from '../publications/publisher-book.ts';
import type { SuspensionBook } from '../publications/suspensions.ts';
import type { PublicSide } from '../workers/traffic.ts';
import type { Routes } from '../routes/snapshot.ts';
import type { InviteRecord, NameRecord, PublisherRecord, SuspensionRecord } from '../store/store.ts';

/** Since when a gateway goes down, and how long at most, in milliseconds since the epoch. */
export interface Draining {
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** The parts of a gateway that a report reads. */
export interface GatewayFacts {
  readonly config: GatewayConfig;
  readonly keys: { readonly key: { readonly peerId: PeerId }; readonly next: PeerId | undefined };
  readonly startedMs: number;
  readonly clock: Clock;
  readonly authority: LocalAuthority | undefined;
  readonly overlay: { addresses(): readonly string[]; connections(): readonly unknown[] };
  readonly links: Pick<Links, 'get' | 'list'> & { readonly port: number | undefined };
  readonly registry: NameRegistry;
  readonly ledger: Ledger;
  readonly publishers: PublisherBook;
  readonly suspensions: Pick<SuspensionBook, 'list' | 'of'>;
  readonly routes: Routes;
  readonly intake: Pick<Intake, 'isLive'>;
  readonly edge: Pick<PublicSide, 'httpsPort' | 'httpPort' | 'counts' | 'figures'>;
  /** Keys of gateway.yaml that wait for a restart. */
  needsRestart(): readonly string[];
  workers(): readonly GatewayWorker[];
  /** Undefined while it stays. */
  draining(): Draining | undefined;
  urlOf(host: string): string;
}

export function gatewayStatus(facts: GatewayFacts): GatewayStatus {
  const { config, edge, links, overlay, startedMs } = facts;
  const { publishers } = config;
  const workers = facts.workers();
  return {
    peerId: facts.keys.key.peerId,
    pid: process.pid,
    domain: config.domain,
    startedAt: new Date(startedMs).toISOString(),
    uptimeMs: facts.clock.now() - startedMs,
    peers: [...overlay.addresses()],
    httpsPort: edge.httpsPort,
    httpPort: edge.httpPort ?? null,
    linkPort: links.port ?? null,
    publishers: typeof publishers === 'string' ? publishers : [...publishers.allow],
    caFile: facts.authority?.certificatePath ?? null,
    anchor: config.anchor,
    rules: facts.publishers.rules().length,
    openInvites: facts.publishers.openInvites().length,
    connections: overlay.connections().length,
    links: links.list().length,
    names: facts.registry.list().length,
    requestsInFlight: edge.counts.running,
    requestsTotal: edge.counts.total,
    webSockets: edge.figures.webSockets,
    tunnels: edge.figures.tunnels.running,
    draining: drainingOf(facts.draining()),
    rssBytes: process.memoryUsage.rss(),
    workers,
    warnings: [...rotationWarning(facts), ...restartWarning(facts.needsRestart()), ...pipedWarning(workers)],
  };
}

function drainingOf(draining: Draining | undefined): GatewayStatus['draining'] {
  if (draining === undefined) return null;
  return { since: new Date(draining.sinceMs).toISOString(), until: new Date(draining.untilMs).toISOString() };
}

function restartWarning(keys: readonly string[]): GatewayStatus['warnings'] {
  if (keys.length === 0) return [];
  return [
    { code: 'RESTART_NEEDED', message: `gateway.yaml says otherwise, from the next start on: ${keys.join(', ')}` },
  ];
}

function rotationWarning({ keys: { next } }: GatewayFacts): GatewayStatus['warnings'] {
  if (next === undefined) return [];
  const message = `the key ${next} will answer after: moat gateway rotate-key --finish`;
  return [{ code: 'ROTATION_OPEN', message }];
}

function pipedWarning(workers: readonly GatewayWorker[]): GatewayStatus['warnings'] {
  const piped = workers.reduce((sum, { pipedLinks }) => sum + pipedLinks, 0);
  if (piped === 0) return [];
  const which = piped === 1 ? 'one link rides' : `${piped} links ride`;
  return [{ code: 'LINKS_PIPED', message: `${which} the control process, slowly: members do not reach the link port` }];
}

export function gatewayNames(facts: GatewayFacts): GatewayName[] {
  const { config, intake, ledger, registry, routes, suspensions } = facts;
  return registry.list().map((record) => {
    const { host, deployment } = record;
    const live = intake.isLive(host);
    const publication = ledger.publicationAt(deployment, host);
    return {
      name: isUnderDomain(host, config.domain) ? host.slice(0, -config.domain.length - 1) : host,
      host,
      url: facts.urlOf(host),
      deployment,
      service: routes.current.find(host)?.service ?? publication?.service ?? '',
      state: publication === undefined ? 'released' : live ? 'live' : 'idle',
      suspended: suspensions.of(host, deployment)?.status ?? null,
      claimedAt: new Date(record.claimedAtMs).toISOString(),
      heldUntil: live ? null : new Date(registry.leaseEndMs(record)).toISOString(),
      proof: proofOf(record),
    };
  });
}

function proofOf({ proof }: NameRecord): GatewayName['proof'] {
  if (proof === undefined) return null;
  const { provenMs, failingMs } = proof;
  return {
    seenAt: new Date(provenMs).toISOString(),
    goneSince: failingMs === null ? null : new Date(failingMs).toISOString(),
  };
}

export function gatewayRoutes(facts: GatewayFacts): { snapshot: number; routes: GatewayRoute[] } {
  const { links, routes } = facts;
  // One for each service that a host leads to.
  const all = routes.current.list().flatMap((route) => [route, ...(route.others?.values() ?? [])]);
  return {
    snapshot: routes.version,
    routes: all.map(({ host, deployment, service, members, balancer, opaque }) => ({
      host,
      deployment,
      service,
      kind: opaque === undefined ? 'http' : 'tcp',
      upstreams: members.map((peer) => {
        const link = links.get(peer);
        return {
          peer,
          healthy: link !== undefined && balancer.healthy(peer),
          path: link?.path ?? null,
          openStreams: link?.openStreams ?? 0,
        };
      }),
    })),
  };
}

export function gatewayPublishers({
  publishers,
  registry,
  suspensions,
}: Pick<GatewayFacts, 'publishers' | 'registry' | 'suspensions'>): GatewayPublishers {
  const held = registry.heldByEach();
  return {
    publishers: publishers.rules().map((record) => publisherOf(record, held.get(record.deployment) ?? 0)),
    invites: publishers.openInvites().map(inviteOf),
    suspensions: suspensions.list().map(suspensionOf),
  };
}

export function suspensionOf({ subject, status, note, sinceMs }: SuspensionRecord): GatewaySuspension {
  return { subject, status, note, since: new Date(sinceMs).toISOString() };
}

/** @param held names that the deployment holds. */
export function publisherOf(record: PublisherRecord, held: number): GatewayPublisher {
  const { deployment, rule, names, invite, sinceMs } = record;
  const since = new Date(sinceMs).toISOString();
  return {
    deployment,
    rule,
    names,
    held,
    invite: invite === null ? null : inviteId(invite),
    since,
  };
}

export function inviteOf({ hash, names, uses, used, expiresMs }: InviteRecord): GatewayInvite {
  return { id: inviteId(hash), names, uses, used, expires: new Date(expiresMs).toISOString() };
}
