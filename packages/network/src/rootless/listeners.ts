/**
 * A loopback listener for each service this member is granted, at an address that is the same after every
 * restart: 127.x.y.z from a hash of deployment, member and service, with the service's own port.
 */
import { createHash } from 'node:crypto';
import { MoatError, errorCode, type DeploymentId, type LinkStream } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import type { NamespaceSockets } from '../namespace/namespace-sockets.ts';
import { LocalPort, joinSocket } from '../local-port.ts';

/** Addresses tried for one service before another port is. */
const PROBES = 8;
/** Added to a port the system refuses. */
const PORT_SHIFT = 20_000;

/** What a listener's address is derived from. */
export interface ListenerIdentity {
  readonly deployment: DeploymentId;
  readonly member: string;
}

export interface WantedListener {
  readonly service: string;
  readonly port: number;
}

export interface ListenersDeps {
  open(service: string, signal: AbortSignal): Promise<LinkStream>;
  /** Where listeners stand. @defaultValue where the agent runs */
  readonly inside?: NamespaceSockets | undefined;
}

/** A listener that stands, or the code why it does not. */
export type ListenerState = SocketAddress | { readonly code: 'LISTEN_FAILED' };

interface Entry {
  readonly port: number;
  readonly state: ListenerState;
  readonly local: LocalPort | undefined;
}

/** Owner of one network's listeners. Not for concurrent use: the network applies updates one by one. */
export class Listeners {
  readonly #deps: ListenersDeps;
  readonly #identity: ListenerIdentity;
  readonly #entries = new Map<string, Entry>();
  #sockets: readonly SocketAddress[] = [];

  constructor(deps: ListenersDeps, identity: ListenerIdentity) {
    this.#deps = deps;
    this.#identity = identity;
  }

  get(service: string): ListenerState | undefined {
    return this.#entries.get(service)?.state;
  }

  /** Where they listen now; asked for each stream that comes in. */
  sockets(): readonly SocketAddress[] {
    return this.#sockets;
  }

  /** Closes what is no longer wanted, with its connections. */
  async remove(wanted: readonly WantedListener[]): Promise<void> {
    const kept = new Map(wanted.map((each) => [each.service, each.port]));
    const closing: Promise<void>[] = [];
    for (const [service, { local, port }] of this.#entries) {
      if (kept.get(service) === port) continue;
      this.#entries.delete(service);
      if (local) closing.push(local.close());
    }
    this.#collect();
    await Promise.all(closing);
  }

  /** Opens what is missing; one that cannot be opened is tried again on the next call. */
  async add(wanted: readonly WantedListener[]): Promise<void> {
    for (const { service, port } of wanted) {
      const entry = this.#entries.get(service);
      if (entry && !('code' in entry.state)) continue;
      this.#entries.set(service, await this.#listen(service, port));
      this.#collect();
    }
  }

  async close(): Promise<void> {
    await this.remove([]);
  }

  #collect(): void {
    this.#sockets = [...this.#entries.values()].flatMap(({ state }) => ('code' in state ? [] : [state]));
  }

  async #listen(service: string, port: number): Promise<Entry> {
    const candidates = listenerAddresses(this.#identity, service, port);
    for (let index = 0; index < candidates.length; index++) {
      const address = candidates[index] as SocketAddress;
      const local = new LocalPort((socket) => {
        void joinSocket(socket, (signal) => this.#deps.open(service, signal));
      });
      try {
        await local.listen((await this.#deps.inside?.bindTcp(address)) ?? address);
        return { port, state: address, local };
      } catch (error) {
        const code = errorCode(error);
        // A refused port is refused at every address; where 127.x.y.z does not exist, only the last one is left.
        if (code === 'EACCES') index = Math.max(index, PROBES - 1);
        else if (code === 'EADDRNOTAVAIL') index = Math.max(index, candidates.length - 2);
        else if (code !== 'EADDRINUSE') break;
      }
    }
    return { port, state: { code: 'LISTEN_FAILED' }, local: undefined };
  }
}

/**
 * Where a service may listen, best first: stable addresses with its own port, the same with the shifted
 * port, at last 127.0.0.1 for systems with one loopback address. Never 127.0.x.y otherwise, where others live.
 */
export function listenerAddresses(identity: ListenerIdentity, service: string, port: number): SocketAddress[] {
  if (port < 1 || port > 65_535) throw new MoatError('TARGET_INVALID', `${port} is not a port`);
  const hosts = Array.from({ length: PROBES }, (_, probe) => loopbackHost(identity, service, probe));
  const shifted = port + PORT_SHIFT <= 65_535 ? port + PORT_SHIFT : port - PORT_SHIFT;
  return [
    ...hosts.map((host) => ({ host, port })),
    ...hosts.map((host) => ({ host, port: shifted })),
    { host: '127.0.0.1', port: shifted },
  ];
}

function loopbackHost({ deployment, member }: ListenerIdentity, service: string, probe: number): string {
  const digest = createHash('sha256')
    .update(`moat/loopback/1\0${deployment}\0${member}\0${service}\0${probe}`)
    .digest();
  const second = 1 + (digest.readUInt8(0) % 254);
  const last = 1 + (digest.readUInt8(2) % 254);
  return `127.${second}.${digest.readUInt8(1)}.${last}`;
}
