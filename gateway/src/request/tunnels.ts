/** All connections whose bytes nobody here reads: within their bounds, watched, and a line said about each at its end. */
import { Bag, isMoatError, type Arrival, type DeploymentId, type Logger, type PeerId } from '@moat/core';
import type { Socket } from 'node:net';
import type { GatewayErrorCode } from '../errors.ts';
import type { Route } from '../routes/snapshot.ts';
import type { ClientAddress } from './client-request.ts';
import type { ClientLimits } from './limits.ts';
import { tellServed } from './served.ts';
import { Tunnel, type TunnelDeps, type TunnelOptions, type TunnelOutcome } from './tunnel.ts';

export interface TunnelServerDeps extends TunnelDeps {
  readonly logger: Logger;
  readonly limits: ClientLimits;
  newId(): string;
  /** A service took a connection under this host; told at most once an hour. */
  onServed(host: string): void;
}

export interface TunnelServerOptions extends TunnelOptions {
  /** Connections of one deployment at once; one more is refused. */
  readonly maxPerDeployment: number;
}

/** A connection and where it leads. */
export interface Incoming {
  readonly socket: Socket;
  readonly client: ClientAddress;
  readonly route: Route;
  /** Name of its TLS handshake; undefined on a port of its own. */
  readonly servername: string | undefined;
  readonly first?: Buffer | undefined;
  readonly preferred?: PeerId | undefined;
  readonly refuse?: ((socket: Socket) => void) | undefined;
}

/** Figures since the start. */
export interface TunnelCounts {
  readonly running: number;
  readonly total: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

const WATCH_MS = 1_000;

export class TunnelServer {
  readonly #deps: TunnelServerDeps;
  readonly #options: TunnelServerOptions;
  readonly #running = new Bag<Tunnel>();
  /** Only deployments that have any. */
  readonly #perDeployment = new Map<DeploymentId, number>();
  #total = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  #watching = false;
  #stopping = false;

  constructor(deps: TunnelServerDeps, options: TunnelServerOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Connections in work. */
  get running(): number {
    return this.#running.size;
  }

  /** With what those in work have carried until now: they may last for weeks. */
  get counts(): TunnelCounts {
    let [bytesIn, bytesOut] = [this.#bytesIn, this.#bytesOut];
    for (const tunnel of this.#running.list()) {
      bytesIn += tunnel.bytesIn;
      bytesOut += tunnel.bytesOut;
    }
    return { running: this.#running.size, total: this.#total, bytesIn, bytesOut };
  }

  /** Carries one connection to its end. */
  serve(incoming: Incoming): void {
    const { socket, client, route, servername, first } = incoming;
    const startedMs = this.#deps.clock.now();
    const refused = this.#refusalOf(incoming);
    if (refused !== undefined) {
      const outcome = { bytesIn: first?.length ?? 0, bytesOut: 0, code: refused, peer: undefined, attempts: 0 };
      this.#log(incoming, outcome, 0);
      if (incoming.refuse) incoming.refuse(socket);
      else socket.destroy();
      return;
    }
    const tunnel: Tunnel = new Tunnel(
      this.#deps,
      this.#options,
      { ...incoming, first, arrival: arrivalOf(socket, client, servername) },
      {
        onConnected: () => tellServed(this.#deps, route),
        onDone: (outcome) => {
          this.#leave(tunnel);
          route.rules?.leave();
          this.#bytesIn += outcome.bytesIn;
          this.#bytesOut += outcome.bytesOut;
          this.#log(incoming, outcome, this.#deps.clock.now() - startedMs);
        },
      },
    );
    this.#total += 1;
    this.#running.add(tunnel);
    this.#perDeployment.set(route.deployment, (this.#perDeployment.get(route.deployment) ?? 0) + 1);
    this.#watch();
    tunnel.run();
  }

  /** Ends what runs under these hosts: they were withdrawn. */
  withdraw(hosts: readonly string[]): void {
    if (hosts.length === 0) return;
    const gone = new Set(hosts);
    for (const tunnel of this.#running.list()) if (gone.has(tunnel.work.route.host)) tunnel.end('NAME_WITHDRAWN');
  }

  /** New connections are refused from now on. */
  drain(): void {
    this.#stopping = true;
  }

  /** Ends everything that runs. */
  stop(): void {
    this.#stopping = true;
    for (const tunnel of this.#running.list()) tunnel.end('GATEWAY_STOPPING');
  }

  #refusalOf({ client, route }: Incoming): GatewayErrorCode | undefined {
    if (this.#stopping) return 'GATEWAY_STOPPING';
    if (route.suspended !== undefined) return 'NAME_SUSPENDED';
    if (this.#deps.limits.spend(client.address) > 0) return 'RATE_LIMITED';
    const running = this.#perDeployment.get(route.deployment) ?? 0;
    if (running >= this.#options.maxPerDeployment) return 'DEPLOYMENT_BUSY';
    return enterByRules(route, client);
  }

  #leave(tunnel: Tunnel): void {
    if (!this.#running.delete(tunnel)) return;
    const { deployment } = tunnel.work.route;
    const left = (this.#perDeployment.get(deployment) ?? 1) - 1;
    if (left > 0) this.#perDeployment.set(deployment, left);
    else this.#perDeployment.delete(deployment);
  }

  /** Says it once a connection: never what it carried. */
  #log({ client, route }: Incoming, outcome: TunnelOutcome, durationMs: number): void {
    const { bytesIn, bytesOut, code, peer, attempts } = outcome;
    this.#deps.logger.info(
      {
        component: 'gateway.connection',
        requestId: this.#deps.newId(),
        remoteAddress: client.address,
        host: route.host,
        bytesIn,
        bytesOut,
        durationMs: Math.round(durationMs),
        deployment: route.deployment,
        service: route.service,
        ...(peer === undefined ? {} : { peer }),
        ...(code === undefined ? {} : { code }),
        ...(attempts > 1 ? { count: attempts } : {}),
      },
      'connection',
    );
  }

  /** One timer for all, while there are any. */
  #watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    this.#deps.clock.after(WATCH_MS, () => {
      this.#watching = false;
      const now = this.#deps.clock.now();
      for (const tunnel of this.#running.list()) tunnel.watch(now);
      if (this.#running.size > 0) this.#watch();
    });
  }
}

/** The last thing asked: whoever is let in is counted. */
function enterByRules({ rules }: Route, { address }: ClientAddress): GatewayErrorCode | undefined {
  try {
    rules?.enter(address);
    return undefined;
  } catch (error) {
    if (!isMoatError(error)) throw error;
    return error.code as GatewayErrorCode;
  }
}

function arrivalOf(
  { localAddress, localPort }: Socket,
  client: ClientAddress,
  servername: string | undefined,
): Arrival {
  const server =
    localAddress === undefined || localPort === undefined ? undefined : { host: plain(localAddress), port: localPort };
  return {
    client: { host: client.address, port: client.port },
    ...(server === undefined ? {} : { server }),
    ...(servername === undefined ? {} : { servername }),
  };
}

/** As in `accept`. */
function plain(address: string): string {
  const bare = address.startsWith('::ffff:') ? address.slice(7) : address;
  return bare.split('%')[0] ?? bare;
}
