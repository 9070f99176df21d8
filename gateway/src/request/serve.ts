/** The phases behind `parse` for one request, in order: limits → route → edge → exchange → respond → log. */
import { Bag, errorCode, isMoatError, type DeploymentId, type Logger } from '@moat/core';
import { refusal } from '../errors.ts';
import type { EdgeCounters } from '../metrics/figures.ts';
import type { Route, RouteSnapshot } from '../routes/snapshot.ts';
import type { NameRules } from '../rules/name-rules.ts';
import { locationOf } from '../rules/redirect.ts';
import { RuledRequest } from '../rules/ruled-request.ts';
import { StickyMarks } from '../rules/sticky.ts';
import { Door } from '../sign-in/door.ts';
import { fieldOf } from '../sign-in/own-fields.ts';
import type { AbuseContact } from './abuse.ts';
import type { ClientAddress, ClientRequest } from './client-request.ts';
import { inwardHead } from './edge.ts';
import { Exchange, type ExchangeDeps, type ExchangeOptions, type ExchangeWork } from './exchange.ts';
import { Interstitial } from './interstitial.ts';
import type { ClientLimits } from './limits.ts';
import { logRequest, UnreadableEntry, type Outcome } from './log.ts';
import { errorAnswer, rawAnswer, redirectAnswer, type OwnAnswer } from './respond.ts';
import { findDestination } from './route.ts';
import { answerSelf, type GatewayIdentity } from './self.ts';

export interface RequestServerDeps extends ExchangeDeps {
  readonly logger: Logger;
  readonly limits: ClientLimits;
  readonly counters: EdgeCounters;
  /** The gateway's own, the same in each of its processes and after a restart. */
  readonly secret: Uint8Array;
  newId(): string;
  snapshot(): RouteSnapshot;
  identity(): GatewayIdentity;
  /** Requests were answered by a service under this host; told at most once an hour. */
  onServed(host: string): void;
}

export interface RequestServerOptions extends ExchangeOptions {
  /** Requests in work at once; one more is answered 503. */
  readonly maxRequests: number;
  /** Of them for one deployment; one more is answered 503, those that run go on. */
  readonly maxRequestsPerDeployment: number;
  /** Where the public reports names. */
  readonly abuse?: AbuseContact | undefined;
  /** Whether providers at which people sign in may be reached at addresses that are not public. */
  readonly privateIssuers: boolean;
}

const WATCH_MS = 1_000;
/** A lease lasts a day at least. */
const SERVED_EVERY_MS = 3_600_000;
/** Deployments counted though nothing of them may run. */
const MAX_IDLE = 10_000;

export class RequestServer {
  readonly #deps: RequestServerDeps;
  readonly #options: RequestServerOptions;
  readonly #running = new Bag<Exchange>();
  /**
   * How many of `#running` each deployment has. Those with none stay, since a table that changes with every request
   * costs more than it holds; above {@link MAX_IDLE} they are dropped.
   */
  readonly #perDeployment = new Map<DeploymentId, { running: number }>();
  readonly #door: Door;
  readonly #interstitial: Interstitial;
  readonly #marks: StickyMarks;
  /** At the door; they are counted in `#perDeployment` too. */
  #waiting = 0;
  #stopping = false;
  #watching = false;

  constructor(deps: RequestServerDeps, options: RequestServerOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#door = new Door(deps, options);
    this.#interstitial = new Interstitial(deps);
    this.#marks = new StickyMarks(deps.secret);
  }

  /** Requests in work. */
  get running(): number {
    return this.#running.size;
  }

  /** Serves one request to its end, and says a line about it then. */
  serve(request: ClientRequest): void {
    let exchange: Exchange | undefined;
    let outcome: Outcome | undefined;
    let delivered: boolean | undefined;
    /** The rules that counted it in, and where it was to go. */
    let entered: NameRules | undefined;
    let routed: Route | undefined;
    const settle = (result: Outcome | undefined): void => {
      outcome ??= result;
      if (outcome !== undefined && entered !== undefined) {
        entered.leave();
        entered = undefined;
      }
      if (outcome === undefined || delivered === undefined) return;
      const durationMs = this.#deps.clock.now() - request.startedMs;
      this.#count(request, outcome, { delivered, durationMs });
      logRequest(this.#deps.logger, request, outcome, { delivered, durationMs });
    };
    const fail = (error: unknown): void => {
      if (exchange) this.#leave(exchange);
      settle(this.#refuse(request, error, exchange?.route ?? routed));
    };
    request.listen({
      onDrain: () => exchange?.onDrain(),
      onBroken: (error) => (exchange ? exchange.onBroken(error) : request.answer.destroy()),
      onClose: (whole) => {
        exchange?.onClose(whole);
        delivered = whole;
        settle(undefined);
      },
    });
    try {
      const { head } = request;
      this.#spend(request.client);
      const { domain } = this.#options;
      const enter = (): void => {
        const destination = findDestination(this.#deps.snapshot(), head, { domain, servername: request.servername });
        if (destination.kind === 'self')
          return settle(this.#send(request, answerSelf(head, this.#deps.identity(), this.#options.abuse)));
        const { route } = destination;
        const page = route.warns && this.#interstitial.answer(request, domain, this.#options.abuse);
        if (page) return settle(this.#send(request, page));
        const { rules } = (routed = route);
        if (rules !== undefined) {
          // Whoever's password was checked comes here a second time, and counts once.
          if (entered === undefined) {
            rules.enter(request.client.address);
            entered = rules;
          }
          rules.requireOpen();
        }
        const entry = route.auth && this.#door.enter(request, route.auth);
        if (entry instanceof Promise) {
          // While a password was checked the client may have gone, and its user or the name with it: what is right is
          // remembered, so the request enters anew.
          const ifThere = (next: () => void): void =>
            delivered === undefined ? next() : settle({ status: 499, code: 'CLIENT_GONE' });
          this.#wait(route.deployment, entry)
            .then((late) => ifThere(() => (late?.answer ? settle(this.#send(request, late.answer)) : enter())))
            .catch((error: unknown) => ifThere(() => fail(error)));
          return;
        }
        if (entry?.answer) return settle(this.#send(request, entry.answer));
        const redirect = rules?.written.redirect;
        if (redirect !== undefined) {
          const { deployment, service } = route;
          const answer = redirectAnswer(redirect.status, locationOf(redirect, head.target));
          return settle({ ...this.#send(request, answer), deployment, service });
        }
        const ruled = rules && this.#ruled(request, route, rules);
        const inward = inwardHead(request, head, { domain }, entry?.visitor);
        exchange =
          ruled === undefined
            ? this.#exchange({ request, head, route, inward }, settle)
            : this.#exchange({ request, head, route: ruled.route, inward: ruled.inward(inward), rules: ruled }, settle);
        this.#run(exchange);
      };
      enter();
    } catch (error) {
      fail(error);
    }
  }

  /** The answer to bytes that are no request, as HTTP/1.1; it is logged here. */
  answerUnreadable(client: ClientAddress, servername: string, error: Error): Buffer {
    return rawAnswer(this.refuseUnreadable(client, servername, error));
  }

  /** The answer to what is no request; it is logged here. */
  refuseUnreadable(client: ClientAddress, servername: string, error: Error): OwnAnswer {
    const id = this.#deps.newId();
    const answer = errorAnswer(error, id, undefined);
    this.#deps.logger.info(
      new UnreadableEntry({
        requestId: id,
        remoteAddress: client.address,
        host: servername,
        status: answer.status,
        code: answer.code,
      }),
      'request',
    );
    this.#deps.counters.countCode(answer.code);
    return answer;
  }

  #count(
    request: ClientRequest,
    outcome: Outcome,
    rest: { readonly delivered: boolean; readonly durationMs: number },
  ): void {
    const { counters } = this.#deps;
    const { status, code = rest.delivered ? undefined : 'CLIENT_GONE' } = outcome;
    counters.count(request.head.version, status, rest.durationMs, request.body.receivedBytes, request.answer.sentBytes);
    if (code !== undefined) counters.countCode(code);
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

  #ruled({ head, client: { address } }: ClientRequest, found: Route, rules: NameRules): RuledRequest {
    const { target, fields, contentLength } = head;
    return new RuledRequest({ marks: this.#marks }, { found, rules, target, fields, contentLength, address });
  }

  #exchange(work: ExchangeWork, settle: (outcome: Outcome) => void): Exchange {
    const { request, route } = work;
    const exchange = new Exchange(this.#deps, this.#options, work, {
      onDone: (outcome) => {
        this.#leave(exchange);
        if (outcome.status !== 499) this.#served(route);
        settle(outcome);
      },
      onFailed: (error) => {
        this.#leave(exchange);
        settle(this.#refuse(request, error, route));
      },
    });
    return exchange;
  }

  #run(exchange: Exchange): void {
    if (this.#stopping) throw refusal('GATEWAY_STOPPING', 'this gateway is going down', { retryable: true });
    const ofDeployment = this.#requireRoom(exchange.route.deployment);
    this.#running.add(exchange);
    ofDeployment.running += 1;
    this.#watch();
    exchange.run();
  }

  /** A place for one request more, of those in work. @throws `GATEWAY_BUSY`, `DEPLOYMENT_BUSY` */
  #requireRoom(deployment: DeploymentId): { running: number } {
    if (this.#running.size + this.#waiting >= this.#options.maxRequests) {
      throw refusal('GATEWAY_BUSY', 'this gateway has too much to do', { retryable: true });
    }
    const ofDeployment = this.#countOf(deployment);
    if (ofDeployment.running >= this.#options.maxRequestsPerDeployment) {
      throw refusal('DEPLOYMENT_BUSY', 'the network behind this name has too much to do', { retryable: true });
    }
    return ofDeployment;
  }

  /** Who waits to be let in is in work too: a provider, or the client's own body, may take its time. */
  #wait<T>(deployment: DeploymentId, entry: Promise<T>): Promise<T> {
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

  #leave(exchange: Exchange): void {
    if (!this.#running.delete(exchange)) return;
    this.#countOf(exchange.route.deployment).running -= 1;
  }

  #served({ host, usage }: Route): void {
    const now = this.#deps.clock.now();
    if (now - usage.servedToldMs < SERVED_EVERY_MS) return;
    usage.servedToldMs = now;
    this.#deps.onServed(host);
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

  #spend(client: ClientAddress): void {
    const retryAfterMs = this.#deps.limits.spend(client.address);
    if (retryAfterMs === 0) return;
    throw refusal('RATE_LIMITED', 'this address sends too many requests', {
      retryable: true,
      details: { retryAfterMs },
    });
  }

  #refuse(request: ClientRequest, error: unknown, route: Route | undefined): Outcome {
    const answer = errorAnswer(error, request.id, fieldOf(request, 'accept'), this.#options.abuse);
    if (answer.status === 500) {
      this.#deps.logger.error({ component: 'gateway.request', requestId: request.id, err: error }, 'request failed');
    }
    if (request.answer.headSent) {
      // Whatever went wrong did so behind a head: a page would be read as part of that answer.
      request.answer.destroy();
      return { status: 499, code: answer.code };
    }
    request.answer.closeAfter();
    const outcome = this.#send(request, answer);
    // What the member said stays out of the page and in the log.
    const streamCode = isMoatError(error) ? error.details['streamCode'] : undefined;
    const code = typeof streamCode === 'string' ? `${errorCode(error)}/${streamCode}` : answer.code;
    return { ...outcome, code, ...(route && { deployment: route.deployment, service: route.service }) };
  }

  #send(request: ClientRequest, answer: OwnAnswer): Outcome {
    // What was not read would be taken for the next request.
    if (!request.body.complete) request.answer.closeAfter();
    request.answer.writeHead(answer.status, answer.fields);
    if (request.head.method !== 'HEAD') request.answer.write(answer.body);
    request.answer.end([]);
    return { status: answer.status };
  }

  /** One timer for all requests in work, while there are any. */
  #watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    this.#deps.clock.after(WATCH_MS, () => {
      this.#watching = false;
      const now = this.#deps.clock.now();
      for (const exchange of this.#running.list()) exchange.watch(now);
      if (this.#running.size > 0) this.#watch();
    });
  }
}
