/** The sockets an agent itself listens on: the shared proxy, and the list that is never a target. */
import { errorCode, type Logger } from '@moat/core';
import type { LinkService } from '@moat/link';
import { createProxy, type PrivateNetwork, type ProxyServer, type SocketAddress } from '@moat/network';
import type { Overlay } from '@moat/overlay';
import type { NodeConfig } from './config.ts';

/** One SOCKS5 proxy for every network here; a name belongs to the first network that has it. */
export async function startProxy(
  { access, socksPort }: Pick<NodeConfig, 'access' | 'socksPort'>,
  networks: () => readonly PrivateNetwork[],
  logger: Logger,
): Promise<ProxyServer | undefined> {
  // Loopback is open to every user of the machine, which `private` forbids.
  if (access === 'private' || socksPort === null) return undefined;
  const resolve: Parameters<typeof createProxy>[0]['resolve'] = (host, port) => {
    for (const network of networks()) {
      const destination = network.resolve(host, port);
      if (destination !== undefined) return destination;
    }
    return undefined;
  };
  try {
    return await createProxy({ resolve }, { port: socksPort });
  } catch (error) {
    // A convenience: a second agent on this machine must not fail for its default port.
    logger.warn({ component: 'node.socks', code: errorCode(error), err: error }, 'proxy port taken, using another');
    return createProxy({ resolve }, { port: 0 });
  }
}

/** What an agent listens on once it is up. */
export interface Listening {
  /** Multiaddrs as configured; what is announced may be others. */
  readonly listen: readonly string[];
  readonly overlay: Pick<Overlay, 'addresses'>;
  readonly links: Pick<LinkService, 'port'>;
  readonly proxy: SocketAddress | undefined;
}

/**
 * Every TCP socket of this agent; a contract can never lead to one. Asked for each stream that comes in, so what
 * stands as long as the agent does is worked out once: libp2p takes 30 µs to list its addresses.
 */
export class OwnSockets implements Iterable<SocketAddress> {
  readonly #opened: () => Iterable<{ sockets(): Iterable<SocketAddress> }>;
  #lasting: readonly SocketAddress[] = [];

  /** @param opened networks and forwards, whose sockets come and go */
  constructor(opened: () => Iterable<{ sockets(): Iterable<SocketAddress> }>) {
    this.#opened = opened;
  }

  /** To call when these listen, and before any network is attached. */
  settle({ listen, overlay, links, proxy }: Listening): void {
    const sockets: SocketAddress[] = [];
    for (const address of [...listen, ...overlay.addresses()]) {
      const match = /^\/ip[46]\/[^/]+\/tcp\/(\d+)/.exec(address);
      // Addresses are announced one by one where the host listens on all of them.
      if (match !== null && !address.includes('/p2p-circuit'))
        sockets.push({ host: '0.0.0.0', port: Number(match[1]) });
    }
    if (links.port !== undefined) sockets.push({ host: '0.0.0.0', port: links.port });
    if (proxy !== undefined) sockets.push({ host: proxy.host, port: proxy.port });
    this.#lasting = sockets;
  }

  *[Symbol.iterator](): Iterator<SocketAddress> {
    for (const socket of this.#lasting) yield socket;
    for (const each of this.#opened()) yield* each.sockets();
  }
}
