/** The parts of a running gateway as sources of its metrics. */
import type { GatewayCertificate } from '@moat/admin-api';
import type { GatewayFacts } from '../admin/report.ts';
import { gatewayNames, gatewayRoutes } from '../admin/report.ts';
import type { AuditStore } from '../store/audit-table.ts';
import type { Traffic } from '../workers/traffic.ts';
import type { AnswerCounter } from './answers.ts';
import type { MetricSources } from './registry.ts';

/** What no part of the gateway has by itself. */
export interface MoreSources {
  readonly version: string;
  readonly traffic: Pick<Traffic, 'edge' | 'restarts'>;
  readonly answers: AnswerCounter;
  readonly audit: Pick<AuditStore, 'lines'>;
  reload(): ReturnType<MetricSources['reload']>;
  certificates(): readonly GatewayCertificate[];
  ready(): boolean;
}

export function metricSources(facts: GatewayFacts, more: MoreSources): MetricSources {
  const { edge } = more.traffic;
  return {
    version: more.version,
    edge: () => edge.figures,
    open: () => ({ connections: edge.counts.connections, requests: edge.counts.running }),
    links: () => facts.links.list().length,
    peers: () => facts.overlay.connections().length,
    upstreams: () => upstreams(facts),
    names: () => namesByState(facts),
    deployments: () => facts.ledger.size,
    publications: () => more.answers.counts,
    workerRestarts: () => more.traffic.restarts(),
    auditLines: () => more.audit.lines,
    reload: () => more.reload(),
    certificates: () => soonestEnds(more.certificates()),
    ready: () => more.ready(),
  };
}

function upstreams(facts: GatewayFacts): { healthy: number; unhealthy: number } {
  const all = gatewayRoutes(facts).routes.flatMap((route) => route.upstreams);
  const healthy = all.filter((upstream) => upstream.healthy).length;
  return { healthy, unhealthy: all.length - healthy };
}

function namesByState(facts: GatewayFacts): ReturnType<MetricSources['names']> {
  const counts = { live: 0, idle: 0, released: 0, suspended: 0 };
  for (const { state, suspended } of gatewayNames(facts)) counts[suspended === null ? state : 'suspended'] += 1;
  return counts;
}

/** Of publishers' own hosts there may be many; those that end soonest are the ones to look at. */
const MAX_CERTIFICATES = 20;

function soonestEnds(certificates: readonly GatewayCertificate[]): ReturnType<MetricSources['certificates']> {
  return certificates
    .flatMap(({ names: [name], notAfter }) =>
      name === undefined || notAfter === null ? [] : [{ name, notAfterMs: Date.parse(notAfter) }],
    )
    .toSorted((a, b) => a.notAfterMs - b.notAfterMs)
    .slice(0, MAX_CERTIFICATES);
}
