/** https edges on the near machine, each in front of one way to the service. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Daemon } from '../../e2e/machine.ts';
import type { BenchContext } from '../context.ts';
import { NEAR_ADDRESS } from '../namespaces.ts';
import { edgeServer, startNginxServer } from '../nginx-server.ts';
import { probe } from '../probe.ts';
import { whenReady } from '../programs.ts';
import type { RunningSubject, Target } from '../subject.ts';
import { createTlsFiles } from '../tls-files.ts';
import { SERVICE_PORT, STREAM_PORT, createE2eSite } from './e2e-site.ts';

/** Where something answers, seen from the near machine. */
export interface Place {
  readonly host: string;
  readonly port: number;
}

/** Both places, where the tunnel gives the far machine an address. */
export function placesAt(host: string): Pick<EdgeOptions, 'service' | 'stream'> {
  return { service: { host, port: SERVICE_PORT }, stream: { host, port: STREAM_PORT } };
}

export interface EdgeOptions {
  /** Of the subject. */
  readonly name: string;
  /** Port of the edge on the near machine. */
  readonly port: number;
  /** The service as the near machine reaches it. */
  readonly service: Place;
  /** {@link STREAM_PORT} of the far machine, reached the same way. */
  readonly stream: Place;
  /** Processes of the tunnel, at both ends. */
  readonly tunnel: readonly Daemon[];
  /** Others use the tunnel too, and it ends with the context. @defaultValue false */
  readonly shared?: boolean;
}

/** nginx in front of the service, one worker a core. */
export async function startNginxEdge(context: BenchContext, options: EdgeOptions): Promise<RunningSubject> {
  const target = await targetAt(context, options.port);
  const tls = await context.shared(createTlsFiles);
  const daemon = await startNginxServer(context, {
    name: options.name,
    ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
    http: edgeServer(`${NEAR_ADDRESS}:${options.port}`, urlHost(options.service), tls),
    ready: { target, scheme: 'https', path: '/1k' },
  });
  return subjectOf(context, target, daemon, options);
}

/** caddy in front of the service, as many threads as it likes. */
export async function startCaddyEdge(context: BenchContext, options: EdgeOptions): Promise<RunningSubject> {
  const target = await targetAt(context, options.port);
  const tls = await context.shared(createTlsFiles);
  const dir = await context.newDir(options.name);
  const file = join(dir, 'Caddyfile');
  await writeFile(
    file,
    `{
      admin off
      auto_https off
      log {
        level ERROR
      }
    }
    https://${target.hostname}:${options.port} {
      bind ${NEAR_ADDRESS}
      tls ${tls.certificateFile} ${tls.keyFile} {
        protocols tls1.3
      }
      reverse_proxy ${urlHost(options.service)} {
        transport http {
          keepalive_idle_conns_per_host 512
          compression off
        }
      }
    }`,
  );
  const daemon = context.programs.start('caddy', ['run', '--config', file, '--adapter', 'caddyfile'], {
    namespace: target.namespace,
    env: { HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir },
  });
  const ready = async (): Promise<boolean> => (await probe(target, 'https', '/1k')).status === 200;
  await whenReady(`${options.name} answers`, daemon, ready);
  return subjectOf(context, target, daemon, options);
}

async function targetAt(context: BenchContext, port: number): Promise<Target> {
  const { namespaces } = await context.shared(createE2eSite);
  const { hostname, ca } = await context.shared(createTlsFiles);
  return { address: NEAR_ADDRESS, port, hostname, ca, namespace: namespaces.near };
}

function urlHost({ host, port }: Place): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function subjectOf(context: BenchContext, target: Target, edge: Daemon, options: EdgeOptions): RunningSubject {
  const { stream, tunnel, shared = false } = options;
  const { namespace } = target;
  return {
    targets: {
      https: target,
      tcp: {
        address: stream.host,
        port: stream.port,
        hostname: 'stream',
        ...(namespace === undefined ? {} : { namespace }),
      },
    },
    pids: (protocol) => (protocol === 'tcp' ? tunnel : [edge, ...tunnel]).map(({ pid }) => pid),
    [Symbol.asyncDispose]: () => context.programs.stop(shared ? [edge] : [edge, ...tunnel]),
  };
}
