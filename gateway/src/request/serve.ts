/** All requests in work: within their bounds, watched, and ended with the name they run under. */
import { Bag, type DeploymentId } from '@moat/core';
import { refusal } from '../errors.ts';
import type { Route } from '../routes/snapshot.ts';
import { StickyMarks } from '../rules/sticky.ts';
import { Door } from '../sign-in/door.ts';
import type { ClientAddress, ClientRequest } from './client-request.ts';
import type { Exchange } from './exchange.ts';
import { Interstitial } from './interstitial.ts';
import { UnreadableEntry } from './log.ts';
import { errorAnswer, rawAnswer, type OwnAnswer } from './respond.ts';
import { tellServed } from './served.ts';
import { Serving, type RequestServerDeps, type RequestServerOptions, type ServingHost } from './serving.ts';

const WATCH_MS = 1_000;
/** Deployments counted though nothing of them may run. */
const MAX_IDLE = 10_000;

export class RequestServer implements ServingHost {
  readonly deps: RequestServerDeps;
  readonly options: RequestServerOptions;
  readonly door: Door;
  readonly interstitial: Interstitial;
  readonly marks: StickyMarks;
  readonly #running = new Bag<Exchange>();
  /**
   * How many of `#running` each deployment has. Those with none stay, since a table that changes with every request
   * costs more than it holds; above {@link MAX_IDLE} they are dropped.
   */
  readonly #perDeployment = new Map<DeploymentId, { running: number }>();
  /** At the door; they are counted in `#perDeployment` too. */
  #waiting = 0;
  #stopping = false;
  #watching = false;

  constructor(deps: RequestServerDeps, options: RequestServerOptions) {
    this.deps = deps;
    this.options = options;
    this.door = new Door(deps, options);
    this.interstitial = new Interstitial(deps);
    this.marks = new StickyMarks(deps.secret);
  }

  /** Requests in work. */
  get running(): number {
    return this.#running.size;
  }

  /** Serves one request to its end, and says a line about it then. */
  serve(request: ClientRequest): void {
    new Serving(this, request).begin();
  }

  /** The answer to bytes that are no request, as HTTP/1.1; it is logged here. */
  answerUnreadable(client: ClientAddress, servername: string, error: Error): Buffer {
    return rawAnswer(this.refuseUnreadable(client, servername, error));
  }

  /** The answer to what is no request; it is logged here. */
  refuseUnreadable(client: ClientAddress, servername: string, error: Error): OwnAnswer {
    const id = this.deps.newId();
    const answer = errorAnswer(error, id, undefined);
    this.deps.logger.info(
      new UnreadableEntry({
        requestId: id,
        remoteAddress: client.address,
        host: servername,
        status: answer.status,
        code: answer.code,
      }),
      'request',
    );
    this.deps.counters.countCode(answer.code);
    return answer;
  }

  /** Of them, those that became another protocol: WebSockets. */
  get webSockets(): number {
    return this.#running.list().reduce((count, exchange) => count + (exchange.isSwitched ? 1 : 0), 0);
  }

  /** Ends what runs under these hosts: they were withdrawn. */
  withdraw(hosts: readonly string[]): void {
    if (hosts.length === 0) return;
    const gone = new Set(hosts);
    for (const exchange of this.#running.list()) if (gone.has(exchange.route.host)) exchange.end('NAME_WITHDRAWN');
  }

  /** New requests get 503 from now on. */
  drain(): void {
    this.#stopping = true;
  }

  /** Ends everything that runs. */
  stop(): void {
    this.#stopping = true;
    for (const exchange of this.#running.list()) exchange.end('GATEWAY_STOPPING');
  }

  run(exchange: Exchange): void {
    if (this.#stopping) throw refusal('GATEWAY_STOPPING', 'this gateway is going down', { retryable: true });
    const ofDeployment = this.#requireRoom(exchange.route.deployment);
    this.#running.add(exchange);
    ofDeployment.running += 1;
    this.#watch();
    exchange.run();
  }

  /** A place for one request more, of those in work. @throws `GATEWAY_BUSY`, `DEPLOYMENT_BUSY` */
  #requireRoom(deployment: DeploymentId): { running: number } {
    if (this.#running.size + this.#waiting >= this.options.maxRequests) {
      throw refusal('GATEWAY_BUSY', 'this gateway has too much to do', { retryable: true });
    }
    const ofDeployment = this.#countOf(deployment);
    if (ofDeployment.running >= this.options.maxRequestsPerDeployment) {
      throw refusal('DEPLOYMENT_BUSY', 'the network behind this name has too much to do', { retryable: true });
    }
    return ofDeployment;
  }

  /** Who waits to be let in is in work too: a provider, or the client's own body, may take its time. */
  wait<T>(deployment: DeploymentId, entry: Promise<T>): Promise<T> {
    // It may fail though nobody waits for it any more.
    entry.catch(() => undefined);
    const ofDeployment = this.#requireRoom(deployment);
    ofDeployment.running += 1;
    this.#waiting += 1;
    return entry.finally(() => {
      ofDeployment.running -= 1;
      this.#waiting -= 1;
    });
  }

  leave(exchange: Exchange): void {
    if (!this.#running.delete(exchange)) return;
    this.#countOf(exchange.route.deployment).running -= 1;
  }

  served(route: Route): void {
    tellServed(this.deps, route);
  }

  #countOf(deployment: DeploymentId): { running: number } {
    const known = this.#perDeployment.get(deployment);
    if (known) return known;
    if (this.#perDeployment.size >= MAX_IDLE) {
      for (const [id, { running }] of this.#perDeployment) if (running === 0) this.#perDeployment.delete(id);
    }
    const count = { running: 0 };
    this.#perDeployment.set(deployment, count);
    return count;
  }

  /** One timer for all requests in work, while there are any. */
  #watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    this.deps.clock.after(WATCH_MS, () => {
      this.#watching = false;
      const now = this.deps.clock.now();
      for (const exchange of this.#running.list()) exchange.watch(now);
      if (this.#running.size > 0) this.#watch();
    });
  }
}
