/** The phases of a request wired to each other, with the listeners at their beginning: one public address. */
import type { Socket } from 'node:net';
import type { Clock, Links, Logger, Service } from '@moat/core';
import type { SecureContexts } from '../certificates/contexts.ts';
import type { GatewayLimits } from '../config.ts';
import type { RouteSnapshot } from '../routes/snapshot.ts';
import { PublicListener, type PublicListenerOptions } from './accept.ts';
import { ClientLimits } from './limits.ts';
import { Http1 } from './http1.ts';
import { serveRedirect } from './redirect.ts';
import { RequestServer } from './serve.ts';
import type { GatewayIdentity } from './self.ts';
import { createTlsPhase } from './tls.ts';

export interface PublicEdgeDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly links: Pick<Links, 'get' | 'connect'>;
  readonly contexts: Pick<SecureContexts, 'get'>;
  newId(): string;
  snapshot(): RouteSnapshot;
  identity(): GatewayIdentity;
  onServed(host: string): void;
}

export interface PublicEdgeOptions {
  readonly domain: string;
  readonly limits: GatewayLimits;
  readonly https: PublicListenerOptions;
  readonly http: PublicListenerOptions | undefined;
  /** Port in redirects. @defaultValue the https port */
  readonly publicPort: number | undefined;
}

/** Time to get a link to a member that has none. */
const CONNECT_MS = 3_000;
const DRAIN_CHECK_MS = 50;

export class PublicEdge implements Service {
  readonly #deps: PublicEdgeDeps;
  readonly #server: RequestServer;
  readonly #https: PublicListener;
  readonly #http: PublicListener | undefined;
  readonly #secureHttp: Http1;
  readonly #plainHttp: Http1;
  readonly #limits: ClientLimits;
  #total = 0;

  constructor(deps: PublicEdgeDeps, options: PublicEdgeOptions) {
    const { clock, logger } = deps;
    const { domain, limits } = options;
    this.#deps = deps;
    this.#limits = new ClientLimits({ clock }, limits);
    this.#server = new RequestServer(
      { ...deps, limits: this.#limits },
      {
        domain,
        answerMs: limits.answerMs,
        stallMs: limits.stallMs,
        connectMs: CONNECT_MS,
        maxBodyBytes: limits.maxBodyBytes,
        maxRequests: limits.requests,
        maxRequestsPerDeployment: limits.requestsPerDeployment,
      },
    );
    const { maxHeadBytes, headMs, idleMs } = limits;
    const server = this.#server;
    const answerUnreadable: RequestServer['answerUnreadable'] = (...cause) => server.answerUnreadable(...cause);
    this.#secureHttp = new Http1(
      {
        clock,
        newId: () => deps.newId(),
        answerUnreadable,
        serve: (request) => {
          this.#total += 1;
          server.serve(request);
        },
      },
      { scheme: 'https', maxHeadBytes, headMs, idleMs },
    );
    const httpsPort = (): number => options.publicPort ?? this.httpsPort;
    this.#plainHttp = new Http1(
      {
        clock,
        newId: () => deps.newId(),
        answerUnreadable,
        serve: (request) => serveRedirect(deps, { domain, httpsPort }, request),
      },
      { scheme: 'http', maxHeadBytes, headMs, idleMs },
    );
    const tls = createTlsPhase({
      clock,
      logger,
      contexts: deps.contexts,
      serve: (socket, client, servername) => this.#secureHttp.accept(socket, client, servername),
    });
    const plain = (socket: Socket, client: { address: string; port: number }): void =>
      this.#plainHttp.accept(socket, client, '');
    this.#https = new PublicListener({ logger, limits: this.#limits, serve: tls }, options.https);
    this.#http = options.http && new PublicListener({ logger, limits: this.#limits, serve: plain }, options.http);
  }

  get httpsPort(): number {
    return this.#https.port;
  }

  get httpPort(): number | undefined {
    return this.#http?.port;
  }

  /** Client connections, requests in work, requests since the start. */
  get counts(): { readonly connections: number; readonly running: number; readonly total: number } {
    return { connections: this.#limits.connections, running: this.#server.running, total: this.#total };
  }

  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    await using opening = new AsyncDisposableStack();
    for (const listener of [this.#https, this.#http]) {
      if (!listener) continue;
      await listener.start(options);
      opening.defer(() => listener.stop());
    }
    opening.move();
  }

  /** Ends what runs under these hosts. */
  withdraw(hosts: readonly string[]): void {
    this.#server.withdraw(hosts);
  }

  /** Another process takes what is new: accepts no connection, and ends each behind its next answer. */
  retire(): void {
    this.#https.close();
    this.#http?.close();
    this.#secureHttp.retire();
    this.#plainHttp.retire();
  }

  /** Takes nothing new; resolves when nothing runs, at the latest after `ms`. */
  async drain(ms: number): Promise<void> {
    this.#https.close();
    this.#http?.close();
    this.#server.drain();
    this.#secureHttp.drain();
    this.#plainHttp.drain();
    const { clock } = this.#deps;
    const until = clock.now() + ms;
    while (this.#server.running > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => clock.after(DRAIN_CHECK_MS, resolve));
    }
  }

  async stop(): Promise<void> {
    this.#server.stop();
    this.#secureHttp.stop();
    this.#plainHttp.stop();
    await Promise.all([this.#https.stop(), this.#http?.stop()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
