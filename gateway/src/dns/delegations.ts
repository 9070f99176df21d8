/**
 * Hosts outside the domain whose `_acme-challenge` leads to our name servers: by CNAME into the zone, or delegated by NS.
 * What is asked for is answered from what was seen last and looked at again in the background, so the first answer for a
 * host is no.
 * Bounds: {@link MAX_HOSTS} hosts remembered, the longest unused is forgotten; {@link MAX_LOOKUPS} lookups at a time, beyond which nothing
 * is asked; one an hour for a host.
 */
import { Resolver } from 'node:dns/promises';
import type { Clock } from '@moat/core';
import { challengeTarget } from './zone.ts';

/** Where a name leads: what its CNAME says, and its name servers; empty where there are none. */
export type WayLookup = (name: string) => Promise<readonly string[]>;

export interface DelegationsDeps {
  readonly clock: Clock;
  readonly lookup: WayLookup;
}

export interface DelegationsOptions {
  readonly domain: string;
  readonly ns: readonly string[];
}

const MAX_HOSTS = 10_000;
const MAX_LOOKUPS = 16;
const AGAIN_MS = 3_600_000;
const TRY_MS = 1_000;
const TRIES = 2;

export class Delegations {
  readonly #deps: DelegationsDeps;
  readonly #options: DelegationsOptions;
  readonly #seen = new Map<string, { readonly leadsHere: boolean; readonly atMs: number }>();
  readonly #running = new Set<string>();

  constructor(deps: DelegationsDeps, options: DelegationsOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  leadsHere(host: string): boolean {
    const seen = this.#seen.get(host);
    if (seen === undefined || this.#deps.clock.now() - seen.atMs >= AGAIN_MS) void this.look(host);
    return seen?.leadsHere === true;
  }

  /** Looks now, where that may be. Never rejects: who does not answer leads nowhere. */
  async look(host: string): Promise<void> {
    if (this.#running.has(host) || this.#running.size >= MAX_LOOKUPS) return;
    this.#running.add(host);
    const { domain, ns } = this.#options;
    const ways = await this.#deps.lookup(`_acme-challenge.${host}`).catch(() => []);
    this.#running.delete(host);
    const ours = [challengeTarget(host, domain), ...ns];
    this.#seen.delete(host);
    this.#seen.set(host, { leadsHere: ways.some((way) => ours.includes(way)), atMs: this.#deps.clock.now() });
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > MAX_HOSTS && oldest !== undefined) this.#seen.delete(oldest);
  }
}

/** @param resolvers `ADDRESS` or `ADDRESS:PORT`; empty = those of the system */
export function createWayLookup(resolvers: readonly string[]): WayLookup {
  return async (name) => {
    const resolver = new Resolver({ timeout: TRY_MS, tries: TRIES });
    if (resolvers.length > 0) resolver.setServers(resolvers);
    const none = (): string[] => [];
    const both = [resolver.resolveCname(name).catch(none), resolver.resolveNs(name).catch(none)];
    return (await Promise.all(both)).flat().map((text) => text.toLowerCase().replace(/\.$/, ''));
  };
}
