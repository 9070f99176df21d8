/** The OpenAPI 3.1 document of a table of endpoints, made from the schemas that check its requests. */
import { createRoute, OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';
import { errorAnswerSchema } from './schema/answer.ts';

/** Plain JSON, complete with components. */
export function openApiDocument(
  endpoints: readonly Endpoint<unknown, unknown>[],
  info: { readonly title: string; readonly version: string },
): object {
  const app = new OpenAPIHono();
  for (const target of endpoints) app.openAPIRegistry.registerPath(describe(target));
  return app.getOpenAPI31Document({ openapi: '3.1.0', info: { title: info.title, version: info.version } });
}

function describe(target: Endpoint<unknown, unknown>): ReturnType<typeof createRoute> {
  const params = [...target.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '');
  return createRoute({
    method: target.method,
    path: target.path,
    summary: target.summary,
    request: {
      ...(params.length === 0 ? {} : { params: strings(params) }),
      ...(target.query.length === 0 ? {} : { query: strings(target.query) }),
      ...(target.body === null
        ? {}
        : { body: { content: { 'application/json': { schema: target.body } }, required: true } }),
    },
    responses: {
      200: {
        description: target.stream ? 'JSON lines' : 'Done',
        content: { [target.stream ? 'application/x-ndjson' : 'application/json']: { schema: target.answer } },
      },
      default: { description: 'A coded error', content: { 'application/json': { schema: errorAnswerSchema } } },
    },
  });
}

function strings(names: readonly string[]): z.ZodObject<Record<string, z.ZodString>> {
  return z.object(Object.fromEntries(names.map((name) => [name, z.string()])));
}
