/** Reverse proxies one could put in front of the same service, each with one worker, so that they compare per core. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '@moat/testkit';
import type { Daemon } from '../../e2e/machine.ts';
import type { BenchContext } from '../context.ts';
import { edgeServer, startNginxServer } from '../nginx-server.ts';
import { probe } from '../probe.ts';
import { missingPrograms, whenReady } from '../programs.ts';
import type { Subject, Target } from '../subject.ts';
import { createTlsFiles, type TlsFiles } from '../tls-files.ts';
import { LOOPBACK, createLocalSite } from './local-site.ts';

interface Ground {
  readonly tls: TlsFiles;
  readonly target: Target;
  /** `host:port` of the service. */
  readonly upstream: string;
}

/** Clients one proxy can have at once, two files each: what a process may open by default, often 20,000, is the bound. */
const MAX_CLIENTS = 9_500;
const NODE_PROXY = fileURLToPath(new URL('node-proxy.ts', import.meta.url));

export const localNginx: Subject = proxy('nginx', ['nginx'], (context, { tls, target, upstream }) =>
  startNginxServer(context, {
    name: 'nginx',
    workers: 1,
    // Those to the service count too.
    connections: MAX_CLIENTS + 1_000,
    http: `map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
      keepalive_timeout 600s; proxy_read_timeout 1h;
      ${edgeServer(`${LOOPBACK}:${target.port}`, upstream, tls).replace(
        "proxy_set_header Connection '';",
        'proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade;',
      )}`,
    ready: { target, scheme: 'https', path: '/1k' },
  }),
);

export const localHaproxy: Subject = proxy('haproxy', ['haproxy'], async (context, { tls, target, upstream }) => {
  const dir = await context.newDir('haproxy');
  const [pem, file] = [join(dir, 'bench.pem'), join(dir, 'haproxy.cfg')];
  await writeFile(pem, (await readFile(tls.certificateFile, 'utf8')) + (await readFile(tls.keyFile, 'utf8')));
  await writeFile(
    file,
    `global
  nbthread 1
  maxconn ${MAX_CLIENTS}
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend edge
  bind ${LOOPBACK}:${target.port} ssl crt ${pem} alpn h2,http/1.1 backlog 4096
  default_backend service
backend service
  http-reuse always
  server service ${upstream}
`,
  );
  return context.programs.start('haproxy', ['-db', '-f', file]);
});

export const localCaddy: Subject = proxy('caddy', ['caddy'], async (context, { tls, target, upstream }) => {
  const dir = await context.newDir('caddy');
  const file = join(dir, 'Caddyfile');
  await writeFile(
    file,
    `{
      admin off
      auto_https off
      log {
        level ERROR
      }
      servers {
        protocols h1 h2
        timeouts {
          idle 10m
        }
      }
    }
    https://${target.hostname}:${target.port} {
      bind ${LOOPBACK}
      tls ${tls.certificateFile} ${tls.keyFile} {
        protocols tls1.3
      }
      reverse_proxy ${upstream} {
        transport http {
          keepalive_idle_conns_per_host 512
          compression off
        }
      }
    }`,
  );
  return context.programs.start('caddy', ['run', '--config', file, '--adapter', 'caddyfile'], {
    env: { HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir, GOMAXPROCS: '1' },
  });
});

export const localHttpProxy: Subject = nodeProxy('http-proxy');
export const localHttpProxy3: Subject = nodeProxy('http-proxy-3');
export const localReplyFrom: Subject = nodeProxy('@fastify/reply-from');

function nodeProxy(name: string): Subject {
  return proxy(name, [], async (context, { tls, target, upstream }) => {
    const { certificateFile, keyFile } = tls;
    const settings = { kind: name, port: target.port, upstream, certificateFile, keyFile };
    return context.programs.start(process.execPath, [NODE_PROXY, JSON.stringify(settings)]);
  });
}

function proxy(
  name: string,
  programs: readonly string[],
  run: (context: BenchContext, ground: Ground) => Promise<Daemon>,
): Subject {
  return {
    name,
    missing: async () => missingPrograms('nginx', 'openssl', 'h2load', ...programs),
    async start(context) {
      const { port } = await context.shared(createLocalSite);
      const tls = await context.shared(createTlsFiles);
      const { hostname, ca } = tls;
      const target: Target = { address: LOOPBACK, port: await freePort(), hostname, ca };
      const daemon = await run(context, { tls, target, upstream: `${LOOPBACK}:${port}` });
      const answers = async (): Promise<boolean> => (await probe(target, 'https', '/1k')).status === 200;
      await whenReady(`${name} answers`, daemon, answers);
      return {
        targets: { https: target },
        pids: () => [daemon.pid],
        [Symbol.asyncDispose]: () => context.programs.stop([daemon]),
      };
    },
  };
}
