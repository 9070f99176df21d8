/** Requests over a Unix socket: one endpoint in, its typed answer or a coded error out. */
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { MoatError, errorCode } from '@moat/core';
import type { Endpoint } from './endpoint.ts';
import { errorAnswerSchema } from './schema/answer.ts';

// An `import` of it reads every export, and the one of WebSocket loads all of undici: 30 ms of each command.
const { request: httpRequest } = process.getBuiltinModule('node:http');

/** Answers larger than this are refused; a contract has at most 1 MiB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** Codes of Node that mean nobody listens there. */
const ABSENT = new Set(['ENOENT', 'ECONNREFUSED', 'EACCES', 'ENOTSOCK', 'ENOTDIR']);
const RESTART = 'restart the agent or gateway so that it runs the installed version';

/** How one request is made. */
export interface CallOptions {
  /** @defaultValue 30 seconds; a join takes its own `waitMs` on top. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** What goes into a path, a query and a body. */
export interface CallInput<Body> {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Body;
}

export interface UnixClientOptions {
  /** Path of the socket. */
  readonly socketPath: string;
  /** What is not running when nobody answers, for the error's sentence. */
  readonly who: string;
  /** Command that starts it. */
  readonly startCommand: string;
}

/** Speaks JSON over HTTP over a Unix socket; holds no connection between calls. */
export class UnixClient {
  readonly #options: UnixClientOptions;

  constructor(options: UnixClientOptions) {
    this.#options = options;
  }

  /**
   * Calls one endpoint.
   * @throws `AGENT_NOT_RUNNING`, `AGENT_TIMEOUT`, `AGENT_ANSWER_INVALID`, or the agent's own code.
   */
  async call<Body, Answer>(
    target: Endpoint<Body, Answer>,
    input: CallInput<Body> = {},
    options: CallOptions = {},
  ): Promise<Answer> {
    const signal = deadline(options.timeoutMs ?? 30_000, options.signal);
    const response = await this.#send(target, input, signal);
    const text = await this.#guard(readAll(response), signal);
    return parseAnswer(target, parseJson(text));
  }

  /**
   * Follows a stream of JSON lines until `signal` is aborted or the other side ends it.
   * @throws as {@link UnixClient.call}.
   */
  async *follow<Answer>(
    target: Endpoint<null, Answer>,
    signal: AbortSignal,
    input: CallInput<null> = {},
  ): AsyncGenerator<Answer, void, undefined> {
    const response = await this.#send(target, input, signal);
    try {
      for await (const line of createInterface({ input: response, crlfDelay: Infinity })) {
        if (line !== '') yield parseAnswer(target, parseJson(line));
      }
    } catch (error) {
      if (signal.aborted) return;
      throw this.#translate(error, signal);
    } finally {
      response.destroy();
    }
  }

  async #send<Body>(
    target: Endpoint<Body, unknown>,
    input: CallInput<Body>,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const body = input.body === undefined ? undefined : JSON.stringify(input.body);
    const response = await this.#guard(
      new Promise<IncomingMessage>((resolve, reject) => {
        const sent = httpRequest(
          {
            socketPath: this.#options.socketPath,
            path: pathOf(target, input),
            method: target.method.toUpperCase(),
            agent: false,
            signal,
            headers: {
              host: 'localhost',
              accept: 'application/json',
              ...(body === undefined
                ? {}
                : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
            },
          },
          resolve,
        );
        sent.on('error', reject);
        sent.end(body);
      }),
      signal,
    );
    if ((response.statusCode ?? 500) < 400) return response;
    throw errorOf(parseJson(await this.#guard(readAll(response), signal)));
  }

  async #guard<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw this.#translate(error, signal);
    }
  }

  #translate(error: unknown, signal: AbortSignal): unknown {
    const { who, socketPath, startCommand } = this.#options;
    if (signal.aborted) {
      const reason: unknown = signal.reason;
      const timedOut = reason instanceof DOMException && reason.name === 'TimeoutError';
      return timedOut
        ? new MoatError('AGENT_TIMEOUT', `${who} did not answer in time`, { cause: error, retryable: true })
        : reason;
    }
    const code = errorCode(error);
    if (!ABSENT.has(code) && code !== 'ECONNRESET' && code !== 'EPIPE') return error;
    return new MoatError('AGENT_NOT_RUNNING', `${who} is not running`, {
      cause: error,
      reason: code === 'EACCES' ? `${socketPath} belongs to another user` : `nobody answers at ${socketPath}`,
      next: [startCommand],
      retryable: true,
    });
  }
}

function deadline(timeoutMs: number, signal: AbortSignal | undefined): AbortSignal {
  const timeout = AbortSignal.timeout(timeoutMs);
  return signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
}

function pathOf<Body>(target: Endpoint<Body, unknown>, input: CallInput<Body>): string {
  const path = target.path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(input.params?.[name] ?? ''),
  );
  const query = new URLSearchParams(input.query).toString();
  return query === '' ? path : `${path}?${query}`;
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw invalidAnswer('the answer is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalidAnswer('the answer is not JSON', error);
  }
}

function parseAnswer<Answer>(
  target: Endpoint<never, Answer> | Endpoint<null, Answer> | Endpoint<unknown, Answer>,
  value: unknown,
): Answer {
  const parsed = target.answer.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalidAnswer(`the answer to ${target.path} has another form`, parsed.error);
}

function errorOf(value: unknown): MoatError {
  const parsed = errorAnswerSchema.safeParse(value);
  if (!parsed.success) return invalidAnswer('the error has another form', parsed.error);
  const { code, message, cause, next, retryable } = parsed.data.error;
  // What runs is older than this command: it cannot advise what it does not know.
  const advice = code === 'ENDPOINT_UNKNOWN' ? [RESTART] : next;
  return new MoatError(code, message, { ...(cause === undefined ? {} : { reason: cause }), next: advice, retryable });
}

function invalidAnswer(message: string, cause?: unknown): MoatError<'AGENT_ANSWER_INVALID'> {
  return new MoatError('AGENT_ANSWER_INVALID', message, { cause, next: [RESTART] });
}
