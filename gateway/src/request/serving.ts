/** One request on its way through the phases behind `parse`: limits → route → edge → exchange → respond → log. */
import { errorCode, isMoatError, type DeploymentId, type Logger } from '@moat/core';
import { refusal } from '../errors.ts';
import type { EdgeCounters } from '../metrics/figures.ts';
import type { Route, RouteSnapshot } from '../routes/snapshot.ts';
import type { NameRules } from '../rules/name-rules.ts';
import { locationOf } from '../rules/redirect.ts';
import { RuledRequest } from '../rules/ruled-request.ts';
import type { StickyMarks } from '../rules/sticky.ts';
import type { AnsweredPort, Door, Entry } from '../sign-in/door.ts';
import { fieldOf } from '../sign-in/own-fields.ts';
import type { AbuseContact } from './abuse.ts';
import type { ClientEvents, ClientRequest } from './client-request.ts';
import { inwardHead } from './edge.ts';
import { Exchange, type ExchangeDeps, type ExchangeEnd, type ExchangeOptions } from './exchange.ts';
import type { Interstitial } from './interstitial.ts';
import type { ClientLimits } from './limits.ts';
import { logRequest, type Outcome } from './log.ts';
import { errorAnswer, redirectAnswer, type OwnAnswer } from './respond.ts';
import { findDestination } from './route.ts';
import { answerSelf, type GatewayIdentity } from './self.ts';

export interface RequestServerDeps extends ExchangeDeps {
  readonly logger: Logger;
  readonly limits: ClientLimits;
  readonly counters: EdgeCounters;
  /** The gateway's own, the same in each of its processes and after a restart. */
  readonly secret: Uint8Array;
  readonly answered: AnsweredPort;
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

/** What all requests of a server share. */
export interface ServingHost {
  readonly deps: RequestServerDeps;
  readonly options: RequestServerOptions;
  readonly door: Door;
  readonly interstitial: Interstitial;
  readonly marks: StickyMarks;
  /** A place for an exchange, which runs from then on. @throws `GATEWAY_STOPPING`, `GATEWAY_BUSY`, `DEPLOYMENT_BUSY` */
  run(exchange: Exchange): void;
  /** Gives the place back; twice is no error. */
  leave(exchange: Exchange): void;
  /** A place for as long as `entry` takes. @throws `GATEWAY_BUSY`, `DEPLOYMENT_BUSY` */
  wait<T>(deployment: DeploymentId, entry: Promise<T>): Promise<T>;
  /** A service answered under this route's host. */
  served(route: Route): void;
}

export class Serving implements ClientEvents, ExchangeEnd {
  readonly #host: ServingHost;
  readonly #request: ClientRequest;
  #exchange: Exchange | undefined;
  #outcome: Outcome | undefined;
  #delivered: boolean | undefined;
  /** The rules that counted it in. */
  #entered: NameRules | undefined;
  /** Where it was to go. */
  #routed: Route | undefined;

  constructor(host: ServingHost, request: ClientRequest) {
    this.#host = host;
    this.#request = request;
  }

  begin(): void {
    this.#request.listen(this);
    try {
      this.#spend();
      this.#enter();
    } catch (error) {
      this.#fail(error);
    }
  }

  onDrain(): void {
    this.#exchange?.onDrain();
  }

  onBroken(error: Error): void {
    if (this.#exchange) this.#exchange.onBroken(error);
    else this.#request.answer.destroy();
  }

  onClose(whole: boolean): void {
    this.#exchange?.onClose(whole);
    this.#delivered = whole;
    this.#settle(undefined);
  }

  onDone(outcome: Outcome): void {
    const exchange = this.#exchange;
    if (exchange) {
      this.#host.leave(exchange);
      if (outcome.status !== 499) this.#host.served(exchange.route);
    }
    this.#settle(outcome);
  }

  onFailed(error: Error): void {
    this.#fail(error);
  }

  /** From the name asked for to the member that answers, or to an answer of ours. */
  #enter(): void {
    const { deps, options, interstitial } = this.#host;
    const request = this.#request;
    const { head, servername } = request;
    const { domain, abuse } = options;
    const destination = findDestination(deps.snapshot(), head, { domain, servername });
    if (destination.kind === 'self') return this.#answer(answerSelf(head, deps.identity(), abuse));
    const { route } = destination;
    const page = route.warns && interstitial.answer(request, domain, abuse);
    if (page) return this.#answer(page);
    const { rules } = (this.#routed = route);
    if (rules !== undefined) {
      // Whoever's password was checked comes here a second time, and counts once.
      if (this.#entered === undefined) {
        rules.enter(request.client.address);
        this.#entered = rules;
      }
      rules.requireOpen();
    }
    const entry = route.auth && this.#host.door.enter(request, route.auth);
    if (entry instanceof Promise) this.#enterLater(route, entry);
    else if (entry?.answer) this.#answer(entry.answer);
    else this.#forward(route, entry);
  }

  /**
   * While a password was checked the client may have gone, and its user or the name with it: what is right is
   * remembered, so the request enters anew.
   */
  #enterLater(route: Route, entry: Promise<Entry | undefined>): void {
    const ifThere = (next: () => void): void =>
      this.#delivered === undefined ? next() : this.#settle({ status: 499, code: 'CLIENT_GONE' });
    this.#host
      .wait(route.deployment, entry)
      .then((late) => ifThere(() => (late?.answer ? this.#answer(late.answer) : this.#enter())))
      .catch((error: unknown) => ifThere(() => this.#fail(error)));
  }

  #forward(route: Route, entry: Entry | undefined): void {
    const { deps, options, marks } = this.#host;
    const request = this.#request;
    const { head, client } = request;
    const { rules, deployment, service } = route;
    const redirect = rules?.written.redirect;
    if (redirect !== undefined) {
      const answer = redirectAnswer(redirect.status, locationOf(redirect, head.target));
      return this.#settle({ ...this.#send(answer), deployment, service });
    }
    const inward = inwardHead(request, head, options, entry?.visitor);
    const { target, fields, contentLength } = head;
    const ruled =
      rules &&
      new RuledRequest({ marks }, { found: route, rules, target, fields, contentLength, address: client.address });
    const work =
      ruled === undefined
        ? { request, head, route, inward }
        : { request, head, route: ruled.route, inward: ruled.inward(inward), rules: ruled };
    this.#exchange = new Exchange(deps, options, work, this);
    this.#host.run(this.#exchange);
  }

  /** The way that was taken and what the client got of it come in either order; both end the request. */
  #settle(result: Outcome | undefined): void {
    const outcome = (this.#outcome ??= result);
    if (outcome === undefined) return;
    this.#entered?.leave();
    this.#entered = undefined;
    if (this.#delivered === undefined) return;
    const { clock, logger, counters } = this.#host.deps;
    const request = this.#request;
    const rest = { delivered: this.#delivered, durationMs: clock.now() - request.startedMs };
    const { status, code = rest.delivered ? undefined : 'CLIENT_GONE' } = outcome;
    counters.count(request.head.version, status, rest.durationMs, request.body.receivedBytes, request.answer.sentBytes);
    if (code !== undefined) counters.countCode(code);
    logRequest(logger, request, outcome, rest);
  }

  #fail(error: unknown): void {
    if (this.#exchange) this.#host.leave(this.#exchange);
    this.#settle(this.#refuse(error, this.#exchange?.route ?? this.#routed));
  }

  #refuse(error: unknown, route: Route | undefined): Outcome {
    const { deps, options } = this.#host;
    const request = this.#request;
    const answer = errorAnswer(error, request.id, fieldOf(request, 'accept'), options.abuse);
    if (answer.status === 500) {
      deps.logger.error({ component: 'gateway.request', requestId: request.id, err: error }, 'request failed');
    }
    if (request.answer.headSent) {
      // Whatever went wrong did so behind a head: a page would be read as part of that answer.
      request.answer.destroy();
      return { status: 499, code: answer.code };
    }
    request.answer.closeAfter();
    const outcome = this.#send(answer);
    // What the member said stays out of the page and in the log.
    const streamCode = isMoatError(error) ? error.details['streamCode'] : undefined;
    const code = typeof streamCode === 'string' ? `${errorCode(error)}/${streamCode}` : answer.code;
    return { ...outcome, code, ...(route && { deployment: route.deployment, service: route.service }) };
  }

  #answer(answer: OwnAnswer): void {
    this.#settle(this.#send(answer));
  }

  #send(answer: OwnAnswer): Outcome {
    const request = this.#request;
    // What was not read would be taken for the next request.
    if (!request.body.complete) request.answer.closeAfter();
    request.answer.writeHead(answer.status, answer.fields);
    if (request.head.method !== 'HEAD') request.answer.write(answer.body);
    request.answer.end([]);
    return { status: answer.status };
  }

  #spend(): void {
    const retryAfterMs = this.#host.deps.limits.spend(this.#request.client.address);
    if (retryAfterMs === 0) return;
    throw refusal('RATE_LIMITED', 'this address sends too many requests', {
      retryable: true,
      details: { retryAfterMs },
    });
  }
}
