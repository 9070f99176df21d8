/** `/metrics`, `/healthz` and `/readyz`: on the admin socket, and where `metrics.listen` says, over plain http. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger, Service } from '@moat/core';
import type { Registry } from 'prom-client';
import type { HostPort } from '../config.ts';
import { refusal } from '../errors.ts';

export interface OperationsDeps {
  readonly logger: Logger;
  /** True while clients are accepted: not before everything listens, and not while the gateway goes down. */
  ready(): boolean;
  /** Gets the figures of now. */
  refresh(): Promise<void>;
  /** Made when somebody asks first: prom-client watches the process from then on. */
  registry(): Registry;
}

/** Answers these three paths. */
export class Operations {
  readonly #deps: OperationsDeps;

  constructor(deps: OperationsDeps) {
    this.#deps = deps;
  }

  /** False when the path is none of its own. */
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    const path = (request.url ?? '').split('?', 1)[0];
    if (path !== '/metrics' && path !== '/healthz' && path !== '/readyz') return false;
    if (request.method !== 'GET' && request.method !== 'HEAD') send(response, 405, 'only GET\n');
    else if (path === '/healthz') send(response, 200, 'ok\n');
    else if (path === '/readyz') this.#sayReady(response);
    else void this.#sayMetrics(response);
    return true;
  }

  #sayReady(response: ServerResponse): void {
    if (this.#deps.ready()) send(response, 200, 'ready\n');
    else send(response, 503, 'not ready\n');
  }

  async #sayMetrics(response: ServerResponse): Promise<void> {
    try {
      await this.#deps.refresh();
      const registry = this.#deps.registry();
      send(response, 200, await registry.metrics(), registry.contentType);
    } catch (err) {
      this.#deps.logger.error({ component: 'gateway.metrics', err }, 'metrics not collected');
      send(response, 500, 'the log says why\n');
    }
  }
}

/** Connections at once; a scraper has one. */
const MAX_CONNECTIONS = 64;

/** The listener of its own, for scrapers and load balancers; it says nothing that the public may not know but how busy we are. */
export class OperationsListener implements Service {
  readonly #operations: Operations;
  readonly #listen: HostPort;
  #server: Server | undefined;

  constructor(deps: { readonly operations: Operations }, options: { readonly listen: HostPort }) {
    this.#operations = deps.operations;
    this.#listen = options.listen;
  }

  get port(): number {
    return (this.#server?.address() as AddressInfo | null)?.port ?? this.#listen.port;
  }

  /** @throws `LISTEN_FAILED` */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    options.signal.throwIfAborted();
    const { host, port } = this.#listen;
    const server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (request, response) => {
      if (!this.#operations.answer(request, response)) send(response, 404, '/metrics, /healthz, /readyz\n');
    });
    server.maxConnections = MAX_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        reject(refusal('LISTEN_FAILED', `cannot listen on ${host} port ${port}`, { cause, details: { host, port } }));
      });
      server.listen(port, host, resolve);
    });
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function send(
  response: ServerResponse,
  status: number,
  text: string,
  type: string = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(response.req.method === 'HEAD' ? undefined : text);
}
