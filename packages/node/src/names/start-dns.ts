/** The agent's DNS with the names of all its networks. */
import { errorCode, type Logger, type PeerId } from '@moat/core';
import { createDns, dnsPlaces, type DnsServer, type PrivateNetwork, type SocketAddress } from '@moat/network';
import type { NodeConfig } from '../config.ts';
import { namedServices } from './named-services.ts';
import { readDnsWiring } from './wiring.ts';

/** How long the list of other servers is kept, in milliseconds. */
const UPSTREAMS_MS = 1_000;

export interface StartDnsDeps {
  readonly self: PeerId;
  readonly networks: () => readonly PrivateNetwork[];
  /** Called with the name of each question, before it is answered. */
  readonly onAsked: (name: string) => void;
  readonly logger: Logger;
}

/** Undefined where names would lead nowhere (`private`), where it is off, and where it cannot listen, which is logged. */
export async function startDns(
  { access, dns }: Pick<NodeConfig, 'access' | 'dns'>,
  { self, networks, onAsked, logger }: StartDnsDeps,
): Promise<DnsServer | undefined> {
  if (access === 'private' || !dns) return undefined;
  const upstreams = new Upstreams();
  const services = (asked: string) => {
    onAsked(asked);
    return networks().flatMap(namedServices);
  };
  try {
    return await createDns({ services, upstreams: () => upstreams.now(), logger }, dnsPlaces(self));
  } catch (error) {
    // A convenience: everything else works without it.
    logger.warn({ component: 'node.dns', code: errorCode(error), err: error }, 'no DNS for names');
    return undefined;
  }
}

/** Servers of other names: what the system used before it was told of ours. Read again when it is asked for. */
class Upstreams {
  #servers: readonly SocketAddress[] = [];
  #readAt = Number.NEGATIVE_INFINITY;

  async now(): Promise<readonly SocketAddress[]> {
    if (performance.now() - this.#readAt > UPSTREAMS_MS) {
      const { others } = await readDnsWiring();
      this.#readAt = performance.now();
      this.#servers = others.map((host) => ({ host, port: 53 }));
    }
    return this.#servers;
  }
}
