/** A web service with every shape of exchange the gateway must carry, run inside the test process. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';

/** 1 MiB that bodies repeat; random so that nothing on the way can shrink it. */
const BLOCK = randomBytes(1 << 20);

export interface WebService extends AsyncDisposable {
  readonly port: number;
  /** Field names and values of the last request, as received. */
  lastFields: readonly string[];
  /** When the last event of `/tick` was written, by performance.now(). */
  eventWrittenAt: number;
  /** Requests seen. */
  requests: number;
}

export async function startWebService(label = 'web'): Promise<WebService> {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => {
    socket.on('error', () => socket.terminate());
    socket.on('message', (data, binary) => socket.send(data as Buffer, { binary }));
  });
  const service: WebService = {
    port: 0,
    lastFields: [],
    eventWrittenAt: 0,
    requests: 0,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    service.requests += 1;
    service.lastFields = request.rawHeaders;
    // whoever asked may be gone before all of it came
    answer(service, label, request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(service, { port: (server.address() as AddressInfo).port });
}

async function answer(
  service: WebService,
  label: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://service');
  switch (url.pathname) {
    case '/upload': {
      const hash = createHash('sha256');
      let bytes = 0;
      for await (const chunk of request as AsyncIterable<Buffer>) {
        hash.update(chunk);
        bytes += chunk.length;
      }
      response.end(JSON.stringify({ bytes, sha256: hash.digest('hex') }));
      return;
    }
    case '/download': {
      let left = Number(url.searchParams.get('bytes'));
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': left });
      while (left > 0 && !response.destroyed) {
        const part = left >= BLOCK.length ? BLOCK : BLOCK.subarray(0, left);
        left -= part.length;
        if (response.write(part)) continue;
        const waiting = new AbortController();
        const [drained, closed] = ['drain', 'close'].map((event) => once(response, event, { signal: waiting.signal }));
        await Promise.race([drained, closed]);
        waiting.abort();
      }
      response.end();
      return;
    }
    case '/tick': {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => {
        service.eventWrittenAt = performance.now();
        response.write(`data: ${service.eventWrittenAt}\n\n`);
      }, 20);
      response.on('close', () => clearInterval(timer));
      return;
    }
    case '/trailers':
      response.writeHead(200, { trailer: 'grpc-status' });
      response.write('body');
      response.addTrailers({ 'grpc-status': '0' });
      response.end();
      return;
    case '/hints':
      response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
      response.end('hinted');
      return;
    case '/headers':
      response.end(JSON.stringify(request.headers));
      return;
    case '/drop':
      request.socket.destroy();
      return;
    default:
      response.writeHead(200, { 'content-type': 'text/plain', 'x-service': label });
      response.end(request.method === 'HEAD' ? undefined : `hello from ${label}\n`);
  }
}

/** SHA-256 of the first `bytes` of a download. */
export function downloadHash(bytes: number): string {
  const hash = createHash('sha256');
  for (let left = bytes; left > 0; left -= BLOCK.length)
    hash.update(left >= BLOCK.length ? BLOCK : BLOCK.subarray(0, left));
  return hash.digest('hex');
}

/** The block uploads repeat. */
export const uploadBlock: Buffer = BLOCK;
