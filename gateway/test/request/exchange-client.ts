/** A client that asks one name of an edge under test for this and that. */
import { once } from 'node:events';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { type ClientRequest, type IncomingMessage } from 'node:http';
import { EdgeUnderTest, HOST, type EdgeOptions } from '../edge-under-test.ts';

export const start = (options?: EdgeOptions): Promise<EdgeUnderTest> => EdgeUnderTest.start(options);

export interface Options extends RequestOptions {
  readonly headers?: Record<string, string | number>;
}

export function open(edge: EdgeUnderTest, options: Options = {}): ClientRequest {
  return httpsRequest({
    host: '127.0.0.1',
    port: edge.edge.httpsPort,
    servername: HOST,
    ca: edge.ca,
    agent: false,
    ...options,
    headers: { host: HOST, ...options.headers },
  });
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly trailers: IncomingMessage['trailers'];
  readonly text: string;
}

export async function fetched(sent: ClientRequest, body?: string): Promise<Answer> {
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  sent.end(body);
  const [response] = await answered;
  let text = '';
  for await (const chunk of response.setEncoding('latin1') as AsyncIterable<string>) text += chunk;
  return { status: response.statusCode ?? 0, headers: response.headers, trailers: response.trailers, text };
}

export const get = (edge: EdgeUnderTest, options?: Options): Promise<Answer> => fetched(open(edge, options));
