/** One endpoint as data: server, client and OpenAPI document are all made from it. */
import type { z } from 'zod';

export type Method = 'get' | 'post' | 'delete';

/** `{name}` in `path` is a parameter; `Body` is `null` where no body is sent. */
export interface Endpoint<Body, Answer> {
  readonly method: Method;
  readonly path: string;
  readonly summary: string;
  /** Names of query parameters, all required. */
  readonly query: readonly string[];
  readonly body: z.ZodType<Body> | null;
  readonly answer: z.ZodType<Answer>;
  /** True when the answer is a stream of JSON lines, each of this schema. */
  readonly stream: boolean;
}

interface EndpointOptions<Body> {
  readonly body?: z.ZodType<Body>;
  readonly query?: readonly string[];
  readonly stream?: boolean;
}

/** Describes one endpoint. */
export function endpoint<Answer, Body = null>(
  method: Method,
  path: string,
  summary: string,
  answer: z.ZodType<Answer>,
  options: EndpointOptions<Body> = {},
): Endpoint<Body, Answer> {
  return {
    method,
    path,
    summary,
    answer,
    body: options.body ?? null,
    query: options.query ?? [],
    stream: options.stream ?? false,
  };
}
