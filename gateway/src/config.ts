/**
 * gateway.yaml: what the operator of a gateway decides. Strict: an unknown key fails with its place and the key that
 * was meant. Paths are relative to the file; state lies in `MOAT_HOME` or the platform's directory for it.
 *
 * ```yaml
 * version: 1
 * domain: apps.example.com
 * publishers: invited
 * tls: local
 * ```
 */
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { DeploymentId } from '@moat/core';
import { acmeConfigOf, type AcmeConfig } from './certificates/acme-config.ts';
import type { CertificateFiles } from './certificates/files.ts';
import { readConfigText, type ConfigFile } from './config-text.ts';
import { dnsConfigOf, type DnsConfig } from './dns/dns-config.ts';
import type { PortRange } from './names/port.ts';
import { RESERVED } from './names/reserved.ts';
import type { AbuseContact } from './request/abuse.ts';
import type { WorkersOption } from './workers/shares.ts';

/** A gateway's configuration with every default filled in. */
export interface GatewayConfig {
  /** Names are one label below it; it answers `/.well-known/moat` itself. */
  readonly domain: string;
  /** @defaultValue invited */
  readonly publishers: Publishers;
  readonly limits: GatewayLimits;
  readonly tls: TlsConfig;
  readonly listen: GatewayListen;
  /** TCP ports that may be published. @defaultValue none */
  readonly tcpPorts: readonly PortRange[];
  /** Processes that carry traffic; 1 = the gateway is one process, `auto` = one a core, at most 8. @defaultValue 1 */
  readonly workers: WorkersOption;
  /** Relay for others that use this gateway as their anchor. @defaultValue true */
  readonly anchor: boolean;
  readonly directory: DirectoryConfig;
  /** Multiaddrs told to others instead of the ones listened on. */
  readonly announce: readonly string[];
  /** Port in public addresses, where something maps it to ours. @defaultValue the https port */
  readonly publicPort: number | undefined;
  /** HTTP/2 for clients that choose it. @defaultValue true */
  readonly http2: boolean;
  /** Whether providers that publishers name may be at addresses that are not public. @defaultValue false, but for `localhost` */
  readonly privateIssuers: boolean;
  /** Keys and the local authority; made 0700. */
  readonly stateDirectory: string;
  /** SQLite file. @defaultValue `gateway.db` in the state directory */
  readonly storePath: string;
  /** Where the public reports names. @defaultValue no page */
  readonly abuse: AbuseContact | undefined;
  /** Whether people read a page before they come in to a publisher whom the operator does not know. @defaultValue `off` */
  readonly interstitial: 'off' | 'unverified';
  /** Where the line of each request goes. @defaultValue `log` */
  readonly accessLog: AccessLogTarget;
  /** What the audit log keeps. @defaultValue 400 days, a million lines */
  readonly audit: { readonly keepMs: number; readonly keepLines: number };
  /** Prometheus metrics and health over plain http, beside those on the admin socket. @defaultValue none */
  readonly metrics: { readonly listen: HostPort } | undefined;
  /** Unix socket of the admin API. @defaultValue `gateway.sock` in the state directory */
  readonly adminSocket: string;
  readonly dns: DnsConfig;
  /** Names below the domain that nobody gets without the operator's word. @defaultValue {@link RESERVED} */
  readonly reservedNames: readonly string[];
}

/** The public directory, which `moat explore` shows. */
export interface DirectoryConfig {
  /** Shows this gateway in it. @defaultValue false */
  readonly listed: boolean;
  /** Where it stands, as its operator calls it: `eu-west`. */
  readonly region: string | undefined;
  /** What its operator asks of publishers; one line. */
  readonly terms: string | undefined;
  /** Multiaddrs of anchors that are told of it, and whose directory it copies. @defaultValue none */
  readonly anchors: readonly string[];
}

/** What the traffic's side is told anew when gateway.yaml changes. */
export interface EdgeSettings {
  readonly limits: GatewayLimits;
  readonly abuse: AbuseContact | undefined;
  readonly accessLog: AccessLogTarget;
}

/** Among the other lines on stderr, alone on stdout, in a file of its own, or nowhere. */
export type AccessLogTarget = 'log' | 'stdout' | 'off' | { readonly file: string };

/** Where certificates come from: the gateway's own authority, files, or authorities of the public. */
export type TlsConfig = 'local' | { readonly files: readonly CertificateFiles[] } | { readonly acme: AcmeConfig };

/** Who may publish: whoever holds a code of the operator, anyone, or these deployments. */
export type Publishers = 'invited' | 'open' | { readonly allow: readonly DeploymentId[] };

export interface GatewayListen {
  /** @defaultValue `:443` */
  readonly https: HostPort;
  /** Redirects to https. @defaultValue `:80`; `off` */
  readonly http: HostPort | undefined;
  /** Multiaddrs of the overlay. @defaultValue `/ip4/0.0.0.0/tcp/4410` */
  readonly overlay: readonly string[];
  /** @defaultValue `:4411` */
  readonly link: HostPort;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
  /** Ranges of load balancers, who alone connect to it and send a PROXY header. @defaultValue anybody connects */
  readonly proxyFrom?: readonly string[];
}

export interface GatewayLimits {
  /** @defaultValue 20 */
  readonly namesPerDeployment: number;
  /** Members that serve one deployment. @defaultValue 500 */
  readonly membersPerDeployment: number;
  /** Requests of one deployment in work, WebSockets included. @defaultValue 5000 */
  readonly requestsPerDeployment: number;
  /** Connections of one deployment that are passed on unread. @defaultValue 5000 */
  readonly connectionsPerDeployment: number;
  /** Deployments in all. @defaultValue 100000 */
  readonly deployments: number;
  /** Names in all. @defaultValue 200000 */
  readonly names: number;
  /** Deployments first shown from one address in an hour. @defaultValue 30 */
  readonly newDeploymentsPerHour: number;
  /** Names claimed from one address in an hour. @defaultValue 200 */
  readonly newNamesPerHour: number;
  /** Bundles shown from one address in an hour. @defaultValue 10000 */
  readonly bundlesPerHour: number;
  /** Connections of one client address (IPv6: /64). @defaultValue 2048 */
  readonly connectionsPerClient: number;
  /** Client connections in all. @defaultValue 20000 */
  readonly connections: number;
  /** Requests in work in all. @defaultValue 20000 */
  readonly requests: number;
  /** Requests per second of one client address; undefined = any. @defaultValue none */
  readonly requestsPerSecond: number | undefined;
  /** Bytes of a request's body; undefined = any. @defaultValue none */
  readonly maxBodyBytes: number | undefined;
  /** Bytes of request line and fields. @defaultValue 16KiB */
  readonly maxHeadBytes: number;
  /** Time for the head of a request. @defaultValue 30s */
  readonly headMs: number;
  /** Time between requests of a connection. @defaultValue 75s */
  readonly idleMs: number;
  /** Time for the service's answer to begin. @defaultValue 120s */
  readonly answerMs: number;
  /** Time a client may neither send nor take anything. @defaultValue 60s */
  readonly stallMs: number;
  /** Time a connection that is passed on unread may carry nothing. @defaultValue 1h */
  readonly tunnelIdleMs: number;
}

/** Environment by which configuration is found and completed. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the text of gateway.yaml.
 * @param path of the file, for messages and relative paths
 * @throws `GATEWAY_CONFIG_INVALID` with every problem as `file:line:col`
 */
export function parseGatewayConfig(text: string, path: string, environment: Environment = {}): GatewayConfig {
  const file = readConfigText(text, path);
  const base = dirname(resolve(path));
  const stateDirectory = file.state === undefined ? gatewayHome(environment) : resolve(base, file.state);
  const { limits = {}, listen = {}, tls } = file;
  return {
    domain: file.domain,
    publishers: file.publishers ?? 'invited',
    limits: {
      namesPerDeployment: limits.namesPerDeployment ?? 20,
      membersPerDeployment: limits.membersPerDeployment ?? 500,
      requestsPerDeployment: limits.requestsPerDeployment ?? 5_000,
      connectionsPerDeployment: limits.connectionsPerDeployment ?? 5_000,
      deployments: limits.deployments ?? 100_000,
      names: limits.names ?? 200_000,
      newDeploymentsPerHour: limits.newDeploymentsPerHour ?? 30,
      newNamesPerHour: limits.newNamesPerHour ?? 200,
      bundlesPerHour: limits.bundlesPerHour ?? 10_000,
      connectionsPerClient: limits.connectionsPerClient ?? 2_048,
      connections: limits.connections ?? 20_000,
      requests: limits.requests ?? 20_000,
      requestsPerSecond: limits.rate,
      maxBodyBytes: limits.body,
      maxHeadBytes: limits.head ?? 16 * 1_024,
      headMs: limits.headTime ?? 30_000,
      idleMs: limits.idleTime ?? 75_000,
      answerMs: limits.answerTime ?? 120_000,
      stallMs: limits.stallTime ?? 60_000,
      tunnelIdleMs: limits.tunnelIdleTime ?? 3_600_000,
    },
    tls: tlsOf(tls, base),
    listen: {
      https: listen.https ?? { host: '::', port: 443 },
      http: listen.http === 'off' ? undefined : (listen.http ?? { host: '::', port: 80 }),
      overlay: listen.overlay ?? ['/ip4/0.0.0.0/tcp/4410'],
      link: listen.link ?? { host: '0.0.0.0', port: 4_411 },
    },
    tcpPorts: file.tcpPorts ?? [],
    workers: file.workers ?? 1,
    anchor: file.anchor ?? true,
    directory: {
      listed: file.directory?.listed ?? false,
      region: file.directory?.region,
      terms: file.directory?.terms,
      anchors: file.directory?.anchors ?? [],
    },
    announce: file.announce ?? [],
    publicPort: file.publicPort,
    http2: file.http2 !== 'off',
    privateIssuers: file.privateIssuers ?? (file.domain === 'localhost' || file.domain.endsWith('.localhost')),
    stateDirectory,
    storePath:
      file.store === undefined ? join(stateDirectory, 'gateway.db') : resolve(base, file.store.slice('sqlite:'.length)),
    abuse: file.abuse,
    interstitial: file.interstitial ?? 'off',
    accessLog: accessLogOf(file.accessLog ?? 'log', base),
    audit: { keepMs: file.audit?.keep ?? 400 * 24 * 3_600_000, keepLines: file.audit?.lines ?? 1_000_000 },
    metrics: file.metrics,
    adminSocket:
      file.console?.socket === undefined ? join(stateDirectory, 'gateway.sock') : resolve(base, file.console.socket),
    dns: dnsConfigOf(file.dns, file.domain),
    reservedNames: file.names?.reserved ?? RESERVED,
  };
}

function accessLogOf(text: string, base: string): AccessLogTarget {
  return text === 'log' || text === 'stdout' || text === 'off' ? text : { file: resolve(base, text) };
}

function tlsOf(tls: ConfigFile['tls'], base: string): TlsConfig {
  if (tls === 'local' || tls.local) return 'local';
  if (tls.acme) return { acme: acmeConfigOf(tls.acme, base) };
  const files = tls.files ?? [];
  return {
    files: files.map(({ certificate, key }) => ({ certificate: resolve(base, certificate), key: resolve(base, key) })),
  };
}

/** Where a gateway of this user or service keeps its state. */
export function gatewayHome(environment: Environment): string {
  const chosen = environment['MOAT_HOME'] ?? environment['STATE_DIRECTORY'];
  if (chosen !== undefined && chosen !== '') return join(chosen, 'gateway');
  const user = environment['HOME'] ?? homedir();
  const state = environment['XDG_STATE_HOME'];
  if (state !== undefined && state !== '') return join(state, 'moat', 'gateway');
  return process.platform === 'darwin'
    ? join(user, 'Library', 'Application Support', 'moat', 'gateway')
    : join(user, '.local', 'state', 'moat', 'gateway');
}
