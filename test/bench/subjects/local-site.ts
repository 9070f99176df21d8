/** What subjects of one machine share: an nginx with the bodies, and behind its `/ws` a WebSocket echo. All on loopback. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { WebSocketServer } from 'ws';
import { freePort } from '@moat/testkit';
import type { BenchContext } from '../context.ts';
import { startNginxServer, writeBodies } from '../nginx-server.ts';
import { BODY_BYTES } from './e2e-site.ts';

export const LOOPBACK = '127.0.0.1';
/** Where the echo is, behind every subject. */
export const ECHO_PATH = '/ws';

export interface LocalSite extends AsyncDisposable {
  readonly port: number;
}

/** One nginx with one worker, as behind the tunnels; the echo runs in the harness. */
export async function createLocalSite(context: BenchContext): Promise<LocalSite> {
  const echo = createServer();
  const sockets = new WebSocketServer({ server: echo, perMessageDeflate: false });
  sockets.on('connection', (socket) => {
    socket.on('error', () => socket.terminate());
    socket.on('message', (data, binary) => socket.send(data as Buffer, { binary }));
  });
  echo.listen(0, LOOPBACK);
  await once(echo, 'listening');
  const echoPort = (echo.address() as AddressInfo).port;
  const bodies = Object.entries(BODY_BYTES).map(([name, bytes]) => [name, randomBytes(bytes)] as const);
  const root = await writeBodies(join(await context.newDir('bodies'), 'www'), Object.fromEntries(bodies));
  const port = await freePort();
  await startNginxServer(context, {
    name: 'service',
    workers: 1,
    http: `sendfile on; tcp_nopush on; open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;
      default_type application/octet-stream;
      server {
        listen ${LOOPBACK}:${port} backlog=4096; root ${root};
        location = ${ECHO_PATH} {
          proxy_pass http://${LOOPBACK}:${echoPort}; proxy_http_version 1.1; proxy_read_timeout 1h;
          proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
        }
      }`,
    ready: { target: { address: LOOPBACK, port, hostname: 'service' }, scheme: 'http', path: '/1k' },
  });
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate();
      echo.closeAllConnections();
      echo.close();
      await once(echo, 'close');
    },
  };
}
