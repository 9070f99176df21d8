/**
 * What stands before pebble and says what this version of it does not: renewal information, profiles, `replaces`,
 * limits. Its https is pebble's own certificate; requests pass with the Host they came with, so that pebble's URLs lead here.
 */
import { readFile } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import type { Pebble } from './pebble.ts';

export interface Front extends AsyncDisposable {
  readonly directory: string;
  /** Payloads of new orders. */
  readonly orders: { readonly replaces?: string; readonly profile?: string }[];
  /** Renewal ids that were asked for. */
  readonly asked: string[];
  /** What is said of every certificate; undefined = 404. */
  window: { readonly start: Date; readonly end: Date } | undefined;
  /** What a request waits for before it is passed on. */
  hold: ((path: string) => Promise<void>) | undefined;
  /** Answers instead of pebble. */
  refuse: ((path: string, payload: Readonly<Record<string, unknown>>) => Refusal | undefined) | undefined;
}

export interface Refusal {
  readonly status: number;
  readonly type: string;
  readonly detail: string;
  readonly retryAfter?: string;
}

export async function standBefore(pebble: Pebble): Promise<Front> {
  const folder = dirname(pebble.trustFile);
  const tls = { cert: await readFile(pebble.trustFile), key: await readFile(join(folder, 'key.pem')) };
  const handle = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const path = incoming.url ?? '';
    const body = await read(incoming);
    if (path.startsWith('/renewal-info/')) {
      front.asked.push(path.slice('/renewal-info/'.length));
      outgoing.writeHead(front.window ? 200 : 404, { 'content-type': 'application/json', 'retry-after': '21600' });
      outgoing.end(JSON.stringify({ suggestedWindow: front.window, explanationURL: 'https://ca.example/why' }));
      return;
    }
    const payload = payloadOf(body);
    const refusal = front.refuse?.(path, payload);
    if (refusal) {
      const { status, retryAfter, ...problem } = refusal;
      const type = { 'content-type': 'application/problem+json', 'replay-nonce': 'none' };
      outgoing.writeHead(status, { ...type, ...(retryAfter !== undefined && { 'retry-after': retryAfter }) });
      outgoing.end(JSON.stringify(problem));
      return;
    }
    await front.hold?.(path);
    const answer = await pass(pebble, incoming, body);
    // A nonce that pebble refused is sent again.
    if (path.startsWith('/order-plz') && answer.statusCode === 201) front.orders.push(payload);
    const text = await read(answer);
    const { 'content-length': _length, ...headers } = answer.headers;
    outgoing.writeHead(answer.statusCode ?? 500, headers);
    outgoing.end(path === '/dir' ? withMore(text, front.directory) : text);
  };
  const server: Server = createServer(tls, (incoming, outgoing) => {
    handle(incoming, outgoing).catch(() => outgoing.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const front: Front = {
    directory: `https://127.0.0.1:${(server.address() as AddressInfo).port}/dir`,
    orders: [],
    asked: [],
    window: undefined,
    hold: undefined,
    refuse: undefined,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return front;
}

function pass(pebble: Pebble, incoming: IncomingMessage, body: string): Promise<IncomingMessage> {
  const { method = 'GET', headers, url = '' } = incoming;
  return new Promise((resolve, reject) => {
    const options = { method, headers, ca: pebble.trust, setHost: false };
    request(new URL(url, pebble.directory), options, resolve).on('error', reject).end(body);
  });
}

function withMore(text: string, directory: string): string {
  const told = JSON.parse(text) as { meta?: object };
  const meta = {
    ...told.meta,
    caaIdentities: ['ca.example'],
    profiles: { classic: 'as ever', shortlived: 'six days' },
  };
  return JSON.stringify({ ...told, meta, renewalInfo: new URL('/renewal-info', directory).href });
}

function payloadOf(body: string): Readonly<Record<string, unknown>> {
  try {
    const { payload } = JSON.parse(body) as { payload: string };
    return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
  } catch {
    return {};
  }
}

async function read(message: IncomingMessage): Promise<string> {
  let text = '';
  message.setEncoding('utf8');
  for await (const part of message as AsyncIterable<string>) text += part;
  return text;
}
