/** A reverse proxy of npm in a process of its own: `node node-proxy.ts '{"kind":…}'`. Connections to the service stay. */
import { readFileSync } from 'node:fs';
import { Agent, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Duplex } from 'node:stream';

interface Settings {
  readonly kind: 'http-proxy' | 'http-proxy-3' | '@fastify/reply-from';
  readonly port: number;
  /** `host:port` of the service. */
  readonly upstream: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** What http-proxy and its successor have in common. */
interface Proxy {
  web(request: IncomingMessage, response: ServerResponse): unknown;
  ws(request: IncomingMessage, socket: Duplex, head: Buffer): unknown;
  on(event: 'error', listener: () => void): unknown;
}

const CONNECTIONS = 512;
const IDLE_MS = 600_000;
const settings = JSON.parse(process.argv[2] ?? '{}') as Settings;
const tls = {
  cert: readFileSync(settings.certificateFile),
  key: readFileSync(settings.keyFile),
  minVersion: 'TLSv1.3' as const,
};
const target = `http://${settings.upstream}`;

if (settings.kind === '@fastify/reply-from') await runReplyFrom();
else runProxy(await loadProxy());

async function loadProxy(): Promise<Proxy> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, maxFreeSockets: CONNECTIONS });
  const options = { target, agent, ws: true };
  const proxy: Proxy =
    settings.kind === 'http-proxy'
      ? (await import('http-proxy')).default.createProxyServer(options)
      : (await import('http-proxy-3')).createProxyServer(options);
  // A client that leaves is an error of its own here.
  proxy.on('error', () => undefined);
  return proxy;
}

function runProxy(proxy: Proxy): void {
  const server = createServer({ ...tls, keepAliveTimeout: IDLE_MS }, (request, response) => {
    proxy.web(request, response);
  });
  server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head));
  server.listen(settings.port, '127.0.0.1', 4_096);
}

async function runReplyFrom(): Promise<void> {
  const { fastify } = await import('fastify');
  const { default: replyFrom } = await import('@fastify/reply-from');
  const app = fastify({ https: tls, keepAliveTimeout: IDLE_MS, logger: false });
  await app.register(replyFrom, { base: target, undici: { connections: CONNECTIONS, pipelining: 1 } });
  app.get('/*', (request, reply) => reply.from(request.url));
  await app.listen({ port: settings.port, host: '127.0.0.1', backlog: 4_096 });
}
