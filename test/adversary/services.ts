/** Services as people run them, each of which says which requests it has seen, in order. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { freePort } from '@moat/testkit';
import { eventually, type Daemon, type Machine } from '../e2e/machine.ts';

export interface SeeingService {
  readonly port: number;
  /** `METHOD TARGET` of each request so far; of what it took for a request and could not read, whatever it wrote. */
  seen(): Promise<readonly string[]>;
}

/** Starts it on `machine`, with which it stops. */
export type StartService = (machine: Machine) => Promise<SeeingService>;

/** Where Debian has the program, or undefined. */
export function programPath(name: string): string | undefined {
  return ['/usr/sbin', '/usr/bin', '/usr/local/sbin', '/usr/local/bin']
    .map((folder) => `${folder}/${name}`)
    .find((path) => existsSync(path));
}

/** Node's own server, which reads a body to its end before it answers. */
export const startNode: StartService = async () => {
  const lines: string[] = [];
  const server = createServer((request, response) => {
    lines.push(`${request.method} ${request.url}`);
    request.on('error', () => undefined);
    request.resume();
    request.once('end', () => response.end('ok'));
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // A request that broke at the gateway ends its connection here, in its middle.
    if (!['ECONNRESET', 'HPE_INVALID_EOF_STATE'].includes(error.code ?? '')) lines.push(`unreadable ${error.code}`);
    socket.destroy();
  });
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, seen: async () => lines };
};

export const startNginx: StartService = async (machine) => {
  const port = await freePort();
  const name = `nginx-${port}`;
  const file = await machine.write(
    `${name}.conf`,
    `daemon off;
user root;
worker_processes 1;
pid ${machine.path(`${name}.pid`)};
error_log ${machine.path(`${name}.error`)};
events {}
http {
  log_format seen '$request_method $request_uri';
  access_log ${machine.path(`${name}.log`)} seen;
  client_max_body_size 0;
  server { listen 127.0.0.1:${port}; location / { return 200 ok; } }
}
`,
  );
  const daemon = machine.program(programPath('nginx') ?? 'nginx', ['-c', file, '-e', machine.path(`${name}.error`)]);
  await listening(daemon, port);
  return { port, seen: () => linesOf(machine.path(`${name}.log`)) };
};

export const startApache: StartService = async (machine) => {
  const port = await freePort();
  const modules = ['mpm_event', 'authz_core', 'rewrite'];
  const file = await machine.write(
    'apache.conf',
    `ServerName localhost
ServerRoot ${machine.home}
PidFile ${machine.path('apache.pid')}
ErrorLog ${machine.path('apache.error')}
Listen 127.0.0.1:${port}
${modules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
User www-data
Group www-data
DocumentRoot ${machine.home}
MaxKeepAliveRequests 0
LogFormat "%r" seen
CustomLog ${machine.path('apache.log')} seen
RewriteEngine on
# whatever the method and the path
RewriteRule ^ - [R=200,L]
`,
  );
  const daemon = machine.program(programPath('apache2') ?? 'apache2', ['-D', 'FOREGROUND', '-f', file]);
  await listening(daemon, port);
  const request = / HTTP\/1\.[01]$/;
  return {
    port,
    seen: async () => (await linesOf(machine.path('apache.log'))).map((line) => line.replace(request, '')),
  };
};

/** HAProxy, whose nginx tells what came through both. */
export const startHaproxy: StartService = async (machine) => {
  const nginx = await startNginx(machine);
  const port = await freePort();
  const file = await machine.write(
    'haproxy.cfg',
    `defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen web
  bind 127.0.0.1:${port}
  server nginx 127.0.0.1:${nginx.port}
`,
  );
  await listening(machine.program(programPath('haproxy') ?? 'haproxy', ['-db', '-f', file]), port);
  return { port, seen: () => nginx.seen() };
};

async function linesOf(file: string): Promise<readonly string[]> {
  return (await readFile(file, 'latin1')).split('\n').slice(0, -1);
}

async function listening(daemon: Daemon, port: number): Promise<void> {
  await eventually(`port ${port} is open`, async () => {
    if (!daemon.running) throw new Error(`it exited:\n${daemon.output}`);
    const socket = connect({ host: '127.0.0.1', port });
    try {
      await once(socket, 'connect');
      return true;
    } finally {
      socket.destroy();
    }
  });
}
