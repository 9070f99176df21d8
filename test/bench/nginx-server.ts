/** nginx with a configuration of ours: the service behind all paths, and the edge in front of every tunnel. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Daemon } from '../e2e/machine.ts';
import type { BenchContext } from './context.ts';
import { probe } from './probe.ts';
import { whenReady } from './programs.ts';
import type { Target } from './subject.ts';
import type { TlsFiles } from './tls-files.ts';

export interface NginxOptions {
  readonly name: string;
  readonly namespace?: string;
  /** Worker processes. @defaultValue auto, one a core */
  readonly workers?: number;
  /** Connections a worker may have. @defaultValue 4096 */
  readonly connections?: number;
  /** What stands in `http { … }`. */
  readonly http: string;
  /** Asked until it answers. */
  readonly ready: { readonly target: Target; readonly scheme: 'https' | 'http'; readonly path: string };
}

/** Starts one nginx and waits until it answers. */
export async function startNginxServer(context: BenchContext, options: NginxOptions): Promise<Daemon> {
  const dir = await context.newDir(options.name);
  const { connections = 4_096 } = options;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${join(dir, kind)};`,
  );
  await writeFile(
    join(dir, 'nginx.conf'),
    `daemon off; user root; worker_processes ${options.workers ?? 'auto'}; worker_rlimit_nofile ${2 * connections};
     pid ${join(dir, 'nginx.pid')}; error_log ${join(dir, 'error.log')};
     events { worker_connections ${connections}; }
     http { access_log off; keepalive_requests 1000000000; tcp_nodelay on; ${temporary.join(' ')}
     ${options.http}
     }`,
  );
  const daemon = context.programs.start('nginx', ['-c', join(dir, 'nginx.conf'), '-p', dir], {
    namespace: options.namespace,
  });
  const { target, scheme, path } = options.ready;
  await whenReady(`${options.name} answers`, daemon, async () => (await probe(target, scheme, path)).status === 200);
  return daemon;
}

/** A folder of bodies, each named after its size; they are of bytes that do not repeat. */
export async function writeBodies(dir: string, bodies: Readonly<Record<string, Uint8Array>>): Promise<string> {
  await mkdir(dir, { recursive: true });
  await chmod(dir, 0o755);
  for (const [name, body] of Object.entries(bodies)) await writeFile(join(dir, name), body);
  return dir;
}

/** `http { … }` of a server for the files in `root`, with the header fields that nginx adds on its own. */
export function filesServer(listen: readonly string[], root: string): string {
  return `sendfile on; tcp_nopush on; open_file_cache max=100 inactive=1h; open_file_cache_valid 1h; default_type application/octet-stream;
    server { ${listen.map((each) => `listen ${each} backlog=4096;`).join(' ')} root ${root}; }`;
}

/** `http { … }` of an https edge that keeps its connections to `upstream`, with the settings that its makers recommend. */
export function edgeServer(listen: string, upstream: string, tls: TlsFiles): string {
  return `upstream service { server ${upstream}; keepalive 512; keepalive_requests 1000000000; }
    server {
      listen ${listen} ssl http2 backlog=4096;
      ssl_certificate ${tls.certificateFile}; ssl_certificate_key ${tls.keyFile}; ssl_protocols TLSv1.3;
      location / {
        proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host;
        proxy_buffers 16 32k; proxy_buffer_size 8k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
      }
    }`;
}
