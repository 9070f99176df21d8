/**
 * The gateway's own name servers as one part: what the zone says, who is well, the sockets. All of it can be another thing
 * while it runs: what the zone says is made anew and swapped, sockets change only where the addresses do.
 */
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

/** What the zone is asked from. */
export interface GatewayDnsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly probe?: PeerHealthDeps['probe'];
  readonly registry: Pick<NameRegistry, 'get'>;
  readonly ledger: Pick<Ledger, 'publicationAt'>;
  /** Authorities that the gateway orders certificates from; none = nothing is said about them. */
  issuers(): readonly CaaIssuer[];
}

/** One making of the zone. */
interface Zone {
  readonly view: ZoneView;
  readonly health: PeerHealth;
  readonly delegations: Delegations;
}

const START_MS = 10_000;

/** Without `server` in its configuration others serve the zone of the domain, and nothing is opened. */
export class GatewayDns implements Service {
  /** For `dns-01`. */
  readonly challenges: DnsChallenges = new DnsChallenges();
  readonly #deps: GatewayDnsDeps;
  readonly #domain: string;
  #config: DnsConfig;
  #zone: Zone | undefined;
  #server: DnsServer | undefined;
  /** What {@link ZoneView.serial} begins with; later starts count from later seconds, so it never goes back (RFC 1982). */
  #firstSerial: number;
  #isRunning = false;
  #isLeaving = false;

  constructor(deps: GatewayDnsDeps, { domain, dns }: { readonly domain: string; readonly dns: DnsConfig }) {
    this.#deps = deps;
    this.#domain = domain;
    this.#config = dns;
    this.#firstSerial = Math.floor(deps.clock.now() / 1_000);
  }

  /** Ports in use, in the order of the configuration. */
  get ports(): readonly number[] {
    return this.#server?.ports ?? [];
  }

  /** Clients are sent to the other gateways of the domain, where one is well. */
  leave(): void {
    this.#isLeaving = true;
    this.#zone?.health.leave();
  }

  /** Whether an authority that asks for `_acme-challenge` of `host` is led here. */
  serves(host: string): boolean {
    if (this.#zone === undefined) return false;
    if (host === this.#domain || host.endsWith(`.${this.#domain}`)) return true;
    return this.#isForeignHost(host) && this.#zone.delegations.leadsHere(host);
  }

  /** @throws `LISTEN_FAILED` */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    this.#isRunning = true;
    const { server } = this.#config;
    if (server === undefined) return;
    const zone = this.#makeZone(server, this.#config.resolvers);
    await zone.health.start(options);
    this.#zone = zone;
    try {
      this.#server = await this.#listen(server);
    } catch (error) {
      this.#zone = undefined;
      await zone.health.stop();
      throw error;
    }
  }

  /** Takes another `dns` into use. @throws `LISTEN_FAILED`; everything stays as it was then */
  async reconfigure(next: DnsConfig): Promise<void> {
    if (!this.#isRunning || isSame(next, this.#config)) return;
    const { server } = next;
    const [before, zone] = [this.#zone, server && this.#makeZone(server, next.resolvers)];
    if (!isSame(server?.listen, this.#config.server?.listen)) await this.#moveTo(server, zone);
    this.#zone = zone;
    this.#config = next;
    await zone?.health.start({ signal: AbortSignal.timeout(START_MS) });
    await before?.health.stop();
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await this.#server?.stop();
    await this.#zone?.health.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Two cannot have one port: the old sockets go first, and come back where the new ones cannot be had. */
  async #moveTo(server: DnsServerConfig | undefined, zone: Zone | undefined): Promise<void> {
    const [before, old] = [this.#zone, this.#config.server];
    await this.#server?.stop();
    this.#server = undefined;
    this.#zone = zone;
    try {
      this.#server = server && (await this.#listen(server));
    } catch (error) {
      this.#zone = before;
      this.#server = old && (await this.#listen(old));
      throw error;
    }
  }

  async #listen({ listen }: DnsServerConfig): Promise<DnsServer> {
    const { clock, logger } = this.#deps;
    const current = (): ZoneView => {
      if (this.#zone === undefined) throw new Error('there is no zone');
      return this.#zone.view;
    };
    const server = new DnsServer(
      {
        clock,
        logger,
        get zone(): ZoneView {
          return current();
        },
      },
      listen,
    );
    await server.start({ signal: AbortSignal.timeout(START_MS) });
    return server;
  }

  #makeZone(config: DnsServerConfig, resolvers: readonly string[]): Zone {
    const { clock, logger, probe } = this.#deps;
    const { challenges } = this;
    const domain = this.#domain;
    const health = new PeerHealth(
      { clock, logger, ...(probe === undefined ? {} : { probe }) },
      { domain, own: config.addresses, peers: config.peers },
    );
    if (this.#isLeaving) health.leave();
    // One more than was said last, whatever is counted from here on.
    if (this.#zone !== undefined) this.#firstSerial = this.#zone.view.serial() + 1 - challenges.changes;
    const firstSerial = this.#firstSerial;
    const view: ZoneView = {
      domain,
      ns: config.ns,
      serial: () => (firstSerial + health.changes + challenges.changes) >>> 0,
      addresses: () => health.addresses(),
      allAddresses: () => health.all(),
      texts: config.txt,
      challenges: (host) => challenges.valuesOf(host),
      challenged: () => challenges.hosts(),
      isForeignHost: (host) => this.#isForeignHost(host),
      caa: (host) =>
        // Names that are published here say nothing of their own: what the domain says counts for them.
        host === domain || this.#tlsOf(host) === 'passthrough'
          ? caaRecords(this.#deps.issuers(), {
              tls: host === domain ? 'terminate' : 'passthrough',
              wildcard: host === domain,
            })
          : [],
    };
    const delegations = new Delegations({ clock, lookup: createWayLookup(resolvers) }, { domain, ns: config.ns });
    return { view, health, delegations };
  }

  /** A host outside the domain that is held here. */
  #isForeignHost(host: string): boolean {
    return this.#deps.registry.get(host) !== undefined && !isUnderDomain(host, this.#domain);
  }

  /** Who ends TLS for `host`; undefined where nothing is published. */
  #tlsOf(host: string): 'terminate' | 'passthrough' | undefined {
    const { ledger, registry } = this.#deps;
    return ledger.publicationAt(registry.get(host)?.deployment ?? '', host)?.tls;
  }
}

function isSame(one: unknown, other: unknown): boolean {
  const plain = (_: string, value: unknown): unknown => (value instanceof Map ? [...value] : value);
  return JSON.stringify(one, plain) === JSON.stringify(other, plain);
}
