/** Networks whose sockets stand in a namespace: who opens them there, and the names that are answered there. */
import { errorCode, type DeploymentId, type Logger } from '@moat/core';
import {
  createDns,
  openNamespaceSockets,
  type DnsServer,
  type NamespaceSockets,
  type PrivateNetwork,
  type SocketAddress,
} from '@moat/network';
import { namedServices } from '../names/named-services.ts';
import type { StoredTunnel } from '../store/machine-store.ts';
import { openNamespace, openingOf } from './namespaces.ts';

/** Where names are answered inside: the same address in every namespace, for a container's resolv.conf. */
export const NAME_SERVER: SocketAddress = { host: '127.0.0.53', port: 53 };

/** Where a network's sockets stand: where the agent runs, inside, or nowhere, with the code why. */
export interface Standing {
  readonly sockets?: NamespaceSockets;
  readonly refusal?: string;
}

export interface InsidesDeps {
  readonly logger: Logger;
  /** Called with the name of each question. */
  readonly onAsked: (name: string) => void;
}

interface Inside {
  readonly sockets: NamespaceSockets;
  names: DnsServer | undefined;
}

/** Bound: one child process and one DNS a network that the operator put into a namespace. */
export class Insides {
  readonly #deps: InsidesDeps;
  readonly #open = new Map<DeploymentId, Inside>();

  constructor(deps: InsidesDeps) {
    this.#deps = deps;
  }

  /** Never rejects: where the namespace is gone nothing stands anywhere, least of all outside of it. */
  async open(id: DeploymentId, stored: StoredTunnel): Promise<Standing> {
    const { netns } = stored;
    if (netns === null) return {};
    const { logger } = this.#deps;
    try {
      const { path } = await openNamespace(netns, openingOf(stored));
      let inside = this.#open.get(id);
      if (inside === undefined) {
        inside = { sockets: await openNamespaceSockets({ logger }, { path }), names: undefined };
        this.#open.set(id, inside);
      }
      return { sockets: inside.sockets };
    } catch (error) {
      const fields = { component: 'node.wireguard', deployment: id, code: errorCode(error), err: error };
      logger.warn(fields, 'the namespace of a network cannot be entered');
      return { refusal: errorCode(error) };
    }
  }

  /** Answers the network's names, and no others. Never rejects. */
  async serveNames(id: DeploymentId, network: PrivateNetwork): Promise<void> {
    const inside = this.#open.get(id);
    if (inside === undefined) return;
    const { logger, onAsked } = this.#deps;
    await inside.names?.stop();
    inside.names = undefined;
    const services = (asked: string): ReturnType<typeof namedServices> => {
      onAsked(asked);
      return namedServices(network);
    };
    try {
      const upstreams = (): Promise<readonly SocketAddress[]> => Promise.resolve([]);
      inside.names = await createDns({ services, upstreams, logger, inside: inside.sockets }, [NAME_SERVER]);
    } catch (error) {
      const fields = { component: 'node.wireguard', deployment: id, code: errorCode(error), err: error };
      logger.warn(fields, 'no DNS in the namespace of a network');
    }
  }

  /** Where programs of the machine enter; undefined for a network that stands where the agent runs. */
  entry(id: DeploymentId): string | undefined {
    return this.#open.get(id)?.sockets.entry;
  }

  async close(id: DeploymentId): Promise<void> {
    const inside = this.#open.get(id);
    this.#open.delete(id);
    await inside?.names?.stop();
    await inside?.sockets.stop();
  }

  async stop(): Promise<void> {
    await Promise.allSettled([...this.#open.keys()].map((id) => this.close(id)));
  }
}
