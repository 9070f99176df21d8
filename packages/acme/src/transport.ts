/**
 * The requests to one authority: https only, its own trusted authorities, no redirects, a deadline and a bound of size
 * for each. It stands where acme-client has its own, which retries by itself for minutes and knows none of these.
 */
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { errorCode, type Clock } from '@moat/core';
import { failure } from './errors.ts';
import { PROBLEM, problemOf, type Problem } from './problem.ts';

export interface TransportDeps {
  readonly clock: Clock;
}

export interface TransportOptions {
  /** PEM of authorities to trust instead of the public ones. */
  readonly trust: string | undefined;
  /** Ends every request. */
  readonly signal: AbortSignal;
  /** Milliseconds for one request. @defaultValue 30000 */
  readonly requestMs?: number;
}

/** An answer as acme-client reads it. */
export interface AcmeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Parsed where it is JSON. */
  readonly data: unknown;
}

/** A chain of certificates is some 6 KiB. */
const MAX_BODY_BYTES = 256 * 1_024;
const DAY_MS = 24 * 3_600_000;
const MAX_RETRY_AFTER_MS = 7 * DAY_MS;

export class AcmeTransport {
  readonly #deps: TransportDeps;
  readonly #options: TransportOptions;
  readonly #agent: Agent;
  /** Of answers that said one: milliseconds from then. */
  readonly #retryAfter = new WeakMap<object, number>();

  constructor(deps: TransportDeps, options: TransportOptions) {
    this.#deps = deps;
    this.#options = options;
    const { trust } = options;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 8, ...(trust === undefined ? {} : { ca: trust }) });
  }

  /**
   * One request. An error of the protocol is thrown with its words, but `badNonce`, which acme-client answers by itself.
   * @throws `ACME_UNREACHABLE`, `ACME_LIMITED`, `ACME_CAA`, `ACME_REFUSED`
   */
  async request(url: string, method: string, body?: unknown): Promise<AcmeAnswer> {
    const { host, protocol } = parseUrl(url);
    if (protocol !== 'https:') throw failure('ACME_UNREACHABLE', `${url} is not https`);
    const answer = await this.#exchange(url, method, body).catch((cause: unknown) => {
      this.#options.signal.throwIfAborted();
      const reason = errorCode(cause) === 'ABORT_ERR' ? 'it did not answer in time' : reasonOf(cause);
      throw failure('ACME_UNREACHABLE', `cannot reach ${host}: ${reason}`, { cause, retryable: true });
    });
    const retryAfterMs = retryAfterOf(answer.headers['retry-after'], this.#deps.clock.now());
    if (retryAfterMs !== undefined && typeof answer.data === 'object' && answer.data !== null) {
      this.#retryAfter.set(answer.data, retryAfterMs);
    }
    if (answer.status < 300) return answer;
    const problem = problemOf(answer.data);
    if (problem?.type === PROBLEM.badNonce) return answer;
    throw refused(host, answer.status, problem, retryAfterMs);
  }

  /** Milliseconds that the authority asked to wait with this answer's body. */
  retryAfterMs(body: object): number | undefined {
    return this.#retryAfter.get(body);
  }

  close(): void {
    this.#agent.destroy();
  }

  #exchange(url: string, method: string, body: unknown): Promise<AcmeAnswer> {
    const { signal, requestMs = 30_000 } = this.#options;
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const ended = new AbortController();
      const timer = this.#deps.clock.after(requestMs, () => ended.abort());
      const done = (): void => timer.cancel();
      const request = httpsRequest(
        url,
        {
          method: method.toUpperCase(),
          agent: this.#agent,
          signal: AbortSignal.any([signal, ended.signal]),
          headers: {
            'user-agent': 'moat',
            'accept-language': 'en',
            ...(payload && { 'content-type': 'application/jose+json', 'content-length': payload.length }),
          },
        },
        (response) => {
          read(response).then(resolve, reject).finally(done);
        },
      );
      request.on('error', (error) => {
        done();
        reject(error);
      });
      request.end(payload);
    });
  }
}

async function read(response: IncomingMessage): Promise<AcmeAnswer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MAX_BODY_BYTES) throw new Error(`its answer is larger than ${MAX_BODY_BYTES} bytes`);
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString('utf8');
  const isJson = /[/+]json\b/.test(response.headers['content-type'] ?? '');
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    data: isJson && text !== '' ? (JSON.parse(text) as unknown) : text,
  };
}

function refused(host: string, status: number, problem: Problem | undefined, retryAfterMs: number | undefined): Error {
  const words = problem?.detail ?? `it answered with status ${status}`;
  const details = {
    status,
    ...(problem && { type: problem.type }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
  if (status === 429 || problem?.type === PROBLEM.rateLimited) {
    return failure('ACME_LIMITED', `${host} allows no more now: ${words}`, { details, retryable: true });
  }
  if (status < 400 || status >= 500) {
    return failure('ACME_UNREACHABLE', `${host} does not work now: ${words}`, { details, retryable: true });
  }
  if (problem?.type === PROBLEM.caa) return failure('ACME_CAA', `${host} may not: ${words}`, { details });
  return failure('ACME_REFUSED', `${host} refused: ${words}`, { details });
}

/** RFC 9110 §10.2.3: seconds or a date; never more than a week. */
function retryAfterOf(header: string | string[] | undefined, nowMs: number): number | undefined {
  if (typeof header !== 'string') return undefined;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - nowMs;
  return ms > 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}

function parseUrl(url: string): URL {
  const parsed = URL.parse(url);
  if (!parsed) throw failure('ACME_UNREACHABLE', 'the authority names an address that is no URL');
  return parsed;
}

function reasonOf(cause: unknown): string {
  const { message } = cause as { message?: unknown };
  return typeof message === 'string' && message !== '' ? message.slice(0, 200) : errorCode(cause);
}
