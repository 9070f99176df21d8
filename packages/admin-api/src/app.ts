/** A table of endpoints and their handlers as one web handler, with its OpenAPI document at `/v1/openapi.json`. */
import { MoatError, isMoatError } from '@moat/core';
import type { Context } from 'hono';
import type { z } from 'zod';
import type { Endpoint } from './endpoint.ts';

/** A contract has at most 1 MiB; its JSON in a request may be escaped. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

/** A request after its checks; every parameter and query of the endpoint is there. */
export interface Call<Body> {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly body: Body;
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal;
}

/** One handler per endpoint; a streaming endpoint's handler returns an async iterable. */
export type Handlers<Table> = {
  readonly [Name in keyof Table]: Table[Name] extends Endpoint<infer Body, infer Answer>
    ? (call: Call<Body>) => Answer | Promise<Answer> | AsyncIterable<Answer>
    : never;
};

export interface AppOptions {
  /** Title of the OpenAPI document. */
  readonly title: string;
  readonly version: string;
  /** Told of each error without a code of ours, which the client sees as `INTERNAL`. */
  readonly onUnexpected: (error: unknown) => void;
}

/** What a server needs of the app: the fetch handler. */
export interface App {
  fetch(request: Request): Response | Promise<Response>;
}

type AnyHandler = (call: Call<unknown>) => unknown;

/** Checks requests by the table, calls handlers, and sends coded errors as {@link errorAnswerSchema}. */
export async function createApp<Table extends object>(
  table: Table,
  handlers: Handlers<Table>,
  options: AppOptions,
): Promise<App> {
  // Loaded by servers alone: commands have the tables of endpoints, and serve nothing.
  const [{ Hono }, { bodyLimit }] = await Promise.all([import('hono'), import('hono/body-limit')]);
  const app = new Hono();
  app.use('*', bodyLimit({ maxSize: MAX_BODY_BYTES, onError: (c) => sendError(c, invalid('the body is too large')) }));
  for (const [name, target] of Object.entries(table) as [string, Endpoint<unknown, unknown>][]) {
    const handler = handlers[name as keyof Table] as AnyHandler;
    app.on(target.method.toUpperCase(), target.path.replaceAll(/\{(\w+)\}/g, ':$1'), async (c) => {
      const answer = await handler(await readCall(c, target));
      return target.stream ? sendLines(answer as AsyncIterable<unknown>) : c.json(answer as object);
    });
  }
  app.get('/v1/openapi.json', async (c) => {
    // Loaded when somebody asks: it costs every command and every agent a tenth of a second and memory.
    const { openApiDocument } = await import('./openapi.ts');
    return c.json(openApiDocument(Object.values(table) as Endpoint<unknown, unknown>[], options));
  });
  app.notFound((c) => sendError(c, new MoatError('ENDPOINT_UNKNOWN', `no endpoint ${c.req.method} ${c.req.path}`)));
  app.onError((error, c) => {
    if (isMoatError(error)) return sendError(c, error);
    options.onUnexpected(error);
    return sendError(c, new MoatError('INTERNAL', 'something failed inside; the log says what'));
  });
  return { fetch: (request) => app.fetch(request) };
}

async function readCall(c: Context, target: Endpoint<unknown, unknown>): Promise<Call<unknown>> {
  const query: Record<string, string> = {};
  for (const name of target.query) {
    const value = c.req.query(name);
    if (value === undefined) throw invalid(`the query parameter ${name} is missing`);
    query[name] = value;
  }
  const call = { params: c.req.param() as Record<string, string>, query, signal: c.req.raw.signal };
  return { ...call, body: target.body === null ? null : parseBody(target.body, await c.req.text()) };
}

function parseBody(schema: z.ZodType, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid('the body is not JSON', error);
  }
  let parsed: z.ZodSafeParseResult<unknown>;
  try {
    parsed = schema.safeParse(value);
  } catch (error) {
    // a schema's own checks compare what has a `length`, whatever it is: an object for one throws
    throw invalid('a part of the body is of another kind', error);
  }
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw invalid(`${issue?.path.join('.') || 'body'}: ${issue?.message ?? 'does not fit'}`);
}

/** One JSON a line; ending the response ends the iteration. */
function sendLines(items: AsyncIterable<unknown>): Response {
  const iterator = items[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await iterator.next();
        if (next.done === true) controller.close();
        else controller.enqueue(encoder.encode(`${JSON.stringify(next.value)}\n`));
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers: { 'content-type': 'application/x-ndjson' } });
}

function sendError(c: Context, error: MoatError): Response {
  return c.json({ error: error.toBody() }, statusOf(error));
}

/** The client branches on the code alone; the status is for people with curl. */
function statusOf(error: MoatError): 400 | 403 | 404 | 409 | 500 | 503 {
  if (error.code === 'INTERNAL') return 500;
  if (error.retryable) return 503;
  if (error.code.endsWith('_UNKNOWN')) return 404;
  if (error.code.endsWith('_INVALID')) return 400;
  return /_(DENIED|REFUSED|FORGED|EXPIRED)$/.test(error.code) ? 403 : 409;
}

function invalid(message: string, cause?: unknown): MoatError<'REQUEST_INVALID'> {
  return new MoatError('REQUEST_INVALID', message, { cause, next: ['compare it with GET /v1/openapi.json'] });
}
