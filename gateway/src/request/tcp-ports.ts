/**
 * TCP ports whose bytes go to one service each. They are open while a route leads somewhere from them, and only then. What
 * cannot be opened now is tried again.
 */
import type { Socket } from 'node:net';
import { errorCode, type Clock, type Logger, type Service, type Timer } from '@moat/core';
import { portKey } from '../names/port.ts';
import type { Route, RouteSnapshot } from '../routes/snapshot.ts';
import { PublicListener } from './accept.ts';
import type { ClientAddress } from './client-request.ts';
import type { ClientLimits } from './limits.ts';

export interface TcpPortsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: ClientLimits;
  snapshot(): Pick<RouteSnapshot, 'find' | 'ports'>;
  /** Takes over a connection. */
  serve(socket: Socket, client: ClientAddress, route: Route): void;
}

export interface TcpPortsOptions {
  readonly host: string;
  /** Other processes of this gateway listen on the same ports. */
  readonly shared: boolean;
}

const AGAIN_MS = 5_000;

/** Bound: the ports that the registry gives away, of those the operator allows. */
export class TcpPorts implements Service {
  readonly #deps: TcpPortsDeps;
  readonly #options: TcpPortsOptions;
  readonly #open = new Map<number, PublicListener>();
  #again: Timer | undefined;
  #running = false;

  constructor(deps: TcpPortsDeps, options: TcpPortsOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    options.signal.throwIfAborted();
    this.#running = true;
    await Promise.all(this.#missing().map((port) => this.#listen(port)));
  }

  /** Opens what leads somewhere now, and closes what does not: to call after each change of routes. */
  refresh(): void {
    if (!this.#running) return;
    const wanted = this.#deps.snapshot().ports();
    for (const [port, listener] of this.#open) {
      if (wanted.has(port)) continue;
      this.#open.delete(port);
      listener.close();
      // What runs has ended with its route.
      void listener.stop();
    }
    for (const port of this.#missing()) void this.#listen(port);
  }

  /** Takes no new connection; running ones go on. */
  close(): void {
    this.#running = false;
    this.#again?.cancel();
    for (const listener of this.#open.values()) listener.close();
  }

  async stop(): Promise<void> {
    this.close();
    const listeners = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(listeners.map((listener) => listener.stop()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #missing(): number[] {
    return [...this.#deps.snapshot().ports()].filter((port) => !this.#open.has(port));
  }

  async #listen(port: number): Promise<void> {
    const { logger, limits } = this.#deps;
    const { host, shared } = this.#options;
    const listener = new PublicListener(
      {
        logger,
        limits,
        serve: (socket, client) => {
          const route = this.#deps.snapshot().find(portKey(port));
          if (route === undefined) socket.resetAndDestroy();
          else this.#deps.serve(socket, client, route);
        },
      },
      { host, port, reusePort: shared },
    );
    this.#open.set(port, listener);
    try {
      await listener.start({ signal: AbortSignal.timeout(AGAIN_MS) });
      // Its route may be gone, or another gone and come.
      if (this.#open.get(port) !== listener || !this.#running) await listener.stop();
    } catch (err) {
      if (this.#open.get(port) === listener) this.#open.delete(port);
      logger.error(
        { component: 'gateway.tcp', port, err, code: errorCode(err) },
        'a port that is published cannot be opened',
      );
      this.#again ??= this.#deps.clock.after(AGAIN_MS, () => {
        this.#again = undefined;
        this.refresh();
      });
    }
  }
}
