/**
 * The gateway's figures as Prometheus reads them. Nothing is counted here: each value is asked for when somebody scrapes.
 * Names end in `_total`, `_seconds` or `_bytes` where they are such, and are those of the field
 * (`caddy_http_requests_total`, `traefik_tls_certs_not_after`) under our own prefix.
 */
import { collectDefaultMetrics, Counter, Gauge, Registry, type Metric } from 'prom-client';
import { CODE_CLASSES, DURATION_BOUNDS_S, PROTOCOLS, type EdgeFigures } from './figures.ts';

/** Where the values come from, at the moment of a scrape. */
export interface MetricSources {
  readonly version: string;
  edge(): EdgeFigures;
  open(): { readonly connections: number; readonly requests: number };
  links(): number;
  peers(): number;
  upstreams(): { readonly healthy: number; readonly unhealthy: number };
  /** Names by state. */
  names(): Readonly<Record<'live' | 'idle' | 'released' | 'suspended', number>>;
  deployments(): number;
  /** Answers to what members showed, by code; `OK` is what was taken. */
  publications(): ReadonlyMap<string, number>;
  workerRestarts(): number;
  auditLines(): number;
  reload(): { readonly count: number; readonly succeeded: boolean; readonly atMs: number };
  /** When certificates end, by the name they were asked for: the operator's own, at most so many as are kept. */
  certificates(): readonly { readonly name: string; readonly notAfterMs: number }[];
  ready(): boolean;
}

/** Codes of requests that failed behind the gateway. */
const UPSTREAM_CODES: ReadonlySet<string> = new Set([
  'NO_MEMBER_CONNECTED',
  'MEMBER_REFUSED',
  'SERVICE_UNREACHABLE',
  'LINK_LOST',
  'ANSWER_INVALID',
  'ANSWER_TIMEOUT',
  'NOT_PUBLIC',
]);

/** Label values and the number that belongs to them. */
type Row = readonly [labels: Readonly<Record<string, string>>, value: number];

export function createMetricsRegistry(from: MetricSources): Registry {
  const registry = new Registry();
  const counter = (name: string, help: string, labelNames: readonly string[], rows: () => readonly Row[]): void => {
    const metric: Counter = new Counter({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect: () => {
        metric.reset();
        for (const [labels, value] of rows()) metric.inc(labels, value);
      },
    });
  };
  const gauge = (name: string, help: string, labelNames: readonly string[], rows: () => readonly Row[]): void => {
    const metric: Gauge = new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect: () => {
        metric.reset();
        for (const [labels, value] of rows()) metric.set(labels, value);
      },
    });
  };
  const one = (value: number): Row[] => [[{}, value]];
  const byKey = (label: string, map: Iterable<readonly [string, number]>): Row[] =>
    [...map].map(([key, value]) => [{ [label]: key }, value]);

  gauge('moat_build_info', 'Always 1; the version is a label.', ['version'], () => [[{ version: from.version }, 1]]);
  gauge('moat_ready', 'Whether clients are accepted.', [], () => one(from.ready() ? 1 : 0));
  counter('moat_http_requests_total', 'Requests that are over.', ['code', 'protocol'], () => requestRows(from.edge()));
  registerDurations(registry, from);
  gauge('moat_http_requests_in_flight', 'Requests in work, WebSockets included.', [], () => one(from.open().requests));
  gauge('moat_websockets', 'Of them, WebSockets and other connections that changed their protocol.', [], () =>
    one(from.edge().webSockets),
  );
  counter('moat_http_request_bytes_total', 'Bodies received from clients.', [], () => one(from.edge().bytesIn));
  counter('moat_http_response_bytes_total', 'Bodies sent to clients.', [], () => one(from.edge().bytesOut));
  counter('moat_http_request_errors_total', 'Requests that something else than an answer decided.', ['code'], () =>
    byKey('code', from.edge().codes),
  );
  counter('moat_upstream_failures_total', 'Of them, those that failed behind the gateway.', ['code'], () =>
    byKey(
      'code',
      [...from.edge().codes].filter(([code]) => UPSTREAM_CODES.has(code)),
    ),
  );
  gauge('moat_tunnels', 'Connections whose bytes the gateway does not read, in work.', [], () =>
    one(from.edge().tunnels.running),
  );
  counter('moat_tunnels_total', 'Of them, those that began.', [], () => one(from.edge().tunnels.total));
  counter('moat_tunnel_request_bytes_total', 'What clients sent on them.', [], () => one(from.edge().tunnels.bytesIn));
  counter('moat_tunnel_response_bytes_total', 'What clients got on them.', [], () => one(from.edge().tunnels.bytesOut));
  gauge('moat_open_connections', 'Connections of clients.', [], () => one(from.open().connections));
  counter('moat_connections_total', 'Connections of clients that were accepted or refused.', ['result'], () => {
    const { connections, connectionsRefused } = from.edge();
    return byKey('result', [
      ['accepted', connections],
      ['refused', connectionsRefused],
    ]);
  });
  counter('moat_tls_handshakes_total', 'TLS handshakes with clients.', ['result'], () => {
    const { handshakes, handshakesFailed } = from.edge();
    return byKey('result', [
      ['done', handshakes],
      ['failed', handshakesFailed],
    ]);
  });
  gauge('moat_tls_certs_not_after_seconds', 'When a certificate ends, Unix time.', ['name'], () =>
    from.certificates().map(({ name, notAfterMs }) => [{ name }, notAfterMs / 1_000]),
  );
  gauge('moat_links', 'Links to members.', [], () => one(from.links()));
  gauge('moat_overlay_connections', 'Overlay connections, of members and of those that meet here.', [], () =>
    one(from.peers()),
  );
  gauge('moat_upstreams', 'Members behind names.', ['state'], () => byKey('state', Object.entries(from.upstreams())));
  gauge('moat_names', 'Names that are held.', ['state'], () => byKey('state', Object.entries(from.names())));
  gauge('moat_deployments', 'Deployments that have shown something.', [], () => one(from.deployments()));
  counter('moat_publications_total', 'Answers to what members showed.', ['code'], () =>
    byKey('code', from.publications()),
  );
  counter('moat_worker_restarts_total', 'How often the place of a worker was filled anew.', [], () =>
    one(from.workerRestarts()),
  );
  gauge('moat_audit_lines', 'Lines of the audit log that are kept.', [], () => one(from.auditLines()));
  counter('moat_config_reloads_total', 'How often gateway.yaml was read anew.', [], () => one(from.reload().count));
  gauge('moat_config_last_reload_successful', 'Whether it could be used the last time.', [], () =>
    one(from.reload().succeeded ? 1 : 0),
  );
  gauge('moat_config_last_reload_success_timestamp_seconds', 'When it was last read and used, Unix time.', [], () =>
    one(from.reload().atMs / 1_000),
  );
  collectDefaultMetrics({ register: registry });
  return registry;
}

function requestRows({ requests }: EdgeFigures): Row[] {
  return PROTOCOLS.flatMap((protocol, i) =>
    CODE_CLASSES.map((code, j): Row => [{ code, protocol }, requests[i * CODE_CLASSES.length + j] ?? 0]),
  );
}

/** prom-client's histogram only counts by itself, so this one hands over what was counted. */
function registerDurations(registry: Registry, from: MetricSources): void {
  const name = 'moat_http_request_duration_seconds';
  const help = 'From the head of a request to the end of its answer.';
  const get = (): object => {
    const { durations, durationSumMs } = from.edge();
    let total = 0;
    const buckets = durations.map((count, at) => {
      total += count;
      return { metricName: `${name}_bucket`, labels: { le: DURATION_BOUNDS_S[at] ?? '+Inf' }, value: total };
    });
    const sum = { metricName: `${name}_sum`, labels: {}, value: durationSumMs / 1_000 };
    const count = { metricName: `${name}_count`, labels: {}, value: total };
    return { name, help, type: 'histogram', values: [...buckets, sum, count] };
  };
  registry.registerMetric({ name, help, get } as unknown as Metric);
}
