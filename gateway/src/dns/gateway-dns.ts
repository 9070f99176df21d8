/** The gateway's own name servers as one part: what the zone says, who is well, the sockets. */
import type { Clock, Logger, Service } from '@moat/core';
import { caaRecords, type CaaIssuer } from './caa.ts';
import { DnsChallenges } from './challenges.ts';
import { Delegations, createWayLookup } from './delegations.ts';
import { isUnderDomain } from '../names/host.ts';
import type { NameRegistry } from '../names/registry.ts';
import type { Ledger } from '../publications/ledger.ts';
import type { DnsConfig, DnsServerConfig } from './dns-config.ts';
import { PeerHealth, type PeerHealthDeps } from './health.ts';
import { DnsServer } from './server.ts';
import type { ZoneView } from './zone.ts';

export interface GatewayDnsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly probe?: PeerHealthDeps['probe'];
  /** A host outside the domain that is held here. */
  isForeignHost(host: string): boolean;
  /** Who ends TLS for `host`; undefined where nothing is published. */
  tlsOf(host: string): 'terminate' | 'passthrough' | undefined;
  /** Authorities that the gateway orders certificates from; none = nothing is said about them. */
  issuers(): readonly CaaIssuer[];
}

/** What the zone is asked from. */
export interface ZoneParts extends Pick<GatewayDnsDeps, 'clock' | 'logger' | 'issuers'> {
  readonly registry: Pick<NameRegistry, 'get'>;
  readonly ledger: Pick<Ledger, 'publicationAt'>;
}

/** Undefined where others serve the zone of the domain. */
export function createGatewayDns(
  { registry, ledger, ...parts }: ZoneParts,
  { domain, dns }: { readonly domain: string; readonly dns: DnsConfig },
): GatewayDns | undefined {
  if (dns.server === undefined) return undefined;
  const deps: GatewayDnsDeps = {
    ...parts,
    isForeignHost: (host) => registry.get(host) !== undefined && !isUnderDomain(host, domain),
    tlsOf: (host) => ledger.publicationAt(registry.get(host)?.deployment ?? '', host)?.tls,
  };
  return new GatewayDns(deps, domain, dns.server, dns.resolvers);
}

export class GatewayDns implements Service {
  /** For `dns-01`. */
  readonly challenges: DnsChallenges = new DnsChallenges();
  readonly #deps: GatewayDnsDeps;
  readonly #domain: string;
  readonly #delegations: Delegations;
  readonly #health: PeerHealth;
  readonly #server: DnsServer;

  constructor(deps: GatewayDnsDeps, domain: string, config: DnsServerConfig, resolvers: readonly string[]) {
    const { clock, logger, probe } = deps;
    const { challenges } = this;
    const health = new PeerHealth(
      { clock, logger, ...(probe === undefined ? {} : { probe }) },
      { domain, own: config.addresses, peers: config.peers },
    );
    // Later starts count from later seconds, so it never goes back (RFC 1982).
    const firstSerial = Math.floor(clock.now() / 1_000);
    const zone: ZoneView = {
      domain,
      ns: config.ns,
      serial: () => (firstSerial + health.changes + challenges.changes) >>> 0,
      addresses: () => health.addresses(),
      allAddresses: () => health.all(),
      texts: config.txt,
      challenges: (host) => challenges.valuesOf(host),
      challenged: () => challenges.hosts(),
      isForeignHost: (host) => deps.isForeignHost(host),
      caa: (host) =>
        // Names that are published here say nothing of their own: what the domain says counts for them.
        host === domain || deps.tlsOf(host) === 'passthrough'
          ? caaRecords(deps.issuers(), {
              tls: host === domain ? 'terminate' : 'passthrough',
              wildcard: host === domain,
            })
          : [],
    };
    this.#deps = deps;
    this.#domain = domain;
    this.#delegations = new Delegations({ clock, lookup: createWayLookup(resolvers) }, { domain, ns: config.ns });
    this.#health = health;
    this.#server = new DnsServer({ clock, logger, zone }, config.listen);
  }

  /** Ports in use, in the order of the configuration. */
  get ports(): readonly number[] {
    return this.#server.ports;
  }

  /** Clients are sent to the other gateways of the domain, where one is well. */
  leave(): void {
    this.#health.leave();
  }

  /** Whether an authority that asks for `_acme-challenge` of `host` is led here. */
  serves(host: string): boolean {
    if (host === this.#domain || host.endsWith(`.${this.#domain}`)) return true;
    return this.#deps.isForeignHost(host) && this.#delegations.leadsHere(host);
  }

  /** @throws `LISTEN_FAILED` */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    await using opening = new AsyncDisposableStack();
    await this.#health.start(options);
    opening.use(this.#health);
    await this.#server.start(options);
    opening.move();
  }

  async stop(): Promise<void> {
    await this.#server.stop();
    await this.#health.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
