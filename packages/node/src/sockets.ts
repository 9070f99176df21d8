/** The list of sockets an agent itself listens on, which is never a target. */
import type { LinkService } from '@moat/link';
import type { SocketAddress } from '@moat/network';
import type { Overlay } from '@moat/overlay';

/** What an agent listens on once it is up. */
export interface Listening {
  /** Multiaddrs as configured; what is announced may be others. */
  readonly listen: readonly string[];
  readonly overlay: Pick<Overlay, 'addresses'>;
  readonly links: Pick<LinkService, 'port'>;
  readonly doors: readonly SocketAddress[];
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
  settle({ listen, overlay, links, doors }: Listening): void {
    const sockets: SocketAddress[] = [];
    for (const address of [...listen, ...overlay.addresses()]) {
      const match = /^\/ip[46]\/[^/]+\/tcp\/(\d+)/.exec(address);
      // Addresses are announced one by one where the host listens on all of them.
      if (match !== null && !address.includes('/p2p-circuit'))
        sockets.push({ host: '0.0.0.0', port: Number(match[1]) });
    }
    if (links.port !== undefined) sockets.push({ host: '0.0.0.0', port: links.port });
    this.#lasting = [...sockets, ...doors];
  }

  *[Symbol.iterator](): Iterator<SocketAddress> {
    for (const socket of this.#lasting) yield socket;
    for (const each of this.#opened()) yield* each.sockets();
  }
}
