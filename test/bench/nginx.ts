/** nginx as the service behind both paths, and as the https proxy without a tunnel that Moat is compared with. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../e2e/machine.ts';

export interface NginxOptions {
  readonly dir: string;
  readonly servicePort: number;
  readonly proxyPort: number;
  readonly certFile: string;
  readonly keyFile: string;
}

export interface Nginx extends AsyncDisposable {
  readonly servicePid: number;
  readonly proxyPid: number;
}

/** Starts two nginx masters of one worker each; bodies are 1 KiB. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const body = 'x'.repeat(1024);
  const service = await start(
    options.dir,
    'service',
    options.servicePort,
    `server { listen 127.0.0.1:${options.servicePort}; location / { default_type text/plain; return 200 '${body}'; } }`,
  );
  const proxy = await start(
    options.dir,
    'proxy',
    options.proxyPort,
    `upstream service { server 127.0.0.1:${options.servicePort}; keepalive 64; }
     server {
       listen 127.0.0.1:${options.proxyPort} ssl;
       ssl_certificate ${options.certFile}; ssl_certificate_key ${options.keyFile};
       ssl_protocols TLSv1.3;
       location / { proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host; }
     }`,
  );
  return {
    servicePid: service.pid ?? 0,
    proxyPid: proxy.pid ?? 0,
    async [Symbol.asyncDispose]() {
      for (const child of [proxy, service]) {
        const exit = once(child, 'exit');
        child.kill('SIGTERM');
        await exit;
      }
    },
  };
}

async function start(dir: string, name: string, port: number, servers: string): Promise<ChildProcess> {
  const file = join(dir, `${name}.conf`);
  await writeFile(
    file,
    `daemon off; worker_processes 1; pid ${join(dir, `${name}.pid`)}; error_log ${join(dir, `${name}.log`)};
     events { worker_connections 4096; }
     http { access_log off; keepalive_requests 10000000; ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
       .map((kind) => `${kind}_temp_path ${join(dir, kind)};`)
       .join(' ')} ${servers} }`,
  );
  const child = spawn('nginx', ['-c', file, '-p', dir], { stdio: 'ignore' });
  await eventually(`nginx ${name} listens`, async () => {
    if (child.exitCode !== null) throw new Error(`nginx ${name} exited with ${child.exitCode}`);
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return true;
    } finally {
      socket.destroy();
    }
  });
  return child;
}
