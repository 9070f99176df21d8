/**
 * Moat's gateway beside its service: gateway and node on one machine, on loopback. A gateway reaches services through a
 * node only, so there are two subjects: `moat` is the gateway's process, what it spends beside what other proxies
 * spend; `moat+node` counts the node's process with it.
 */
import { eventually } from '../../e2e/machine.ts';
import { World } from '../../e2e/world.ts';
import type { BenchContext } from '../context.ts';
import { probe } from '../probe.ts';
import { missingPrograms } from '../programs.ts';
import type { RunningSubject, Subject, Target } from '../subject.ts';
import { LOOPBACK, createLocalSite } from './local-site.ts';

/** Milliseconds until a publication answers. */
const PUBLIC_MS = 30_000;
const HOSTNAME = 'bench.localhost';

interface LocalMoat extends AsyncDisposable {
  readonly target: Target;
  readonly gatewayPid: number;
  readonly nodePid: number;
}

async function createLocalMoat(context: BenchContext): Promise<LocalMoat> {
  const site = await context.shared(createLocalSite);
  const world = new World();
  const onAbort = (): void => void world[Symbol.asyncDispose]();
  context.signal.addEventListener('abort', onAbort);
  try {
    await world.startGateway();
    await world.grow({
      name: 'bench',
      members: { owner: { keeper: true, inbound: false }, web: { inbound: false, expose: [`${site.port},public`] } },
      services: { web: { on: ['web'], port: 80, target: `${LOOPBACK}:${site.port}`, protocol: 'http' } },
      publish: { bench: 'web' },
    });
    const { port, browser } = world.gateway;
    const target: Target = { address: LOOPBACK, port, hostname: HOSTNAME, ca: browser.tls(HOSTNAME).ca };
    const answers = async (): Promise<boolean> => (await probe(target, 'https', '/1k')).status === 200;
    await eventually('the service is public', answers, PUBLIC_MS);
    return {
      target,
      gatewayPid: world.gateway.daemon.pid,
      nodePid: world.agent('web').pid,
      async [Symbol.asyncDispose]() {
        context.signal.removeEventListener('abort', onAbort);
        await world[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await world[Symbol.asyncDispose]();
    throw error;
  }
}

function subject(name: string, pids: (moat: LocalMoat) => readonly number[]): Subject {
  return {
    name,
    missing: async () => missingPrograms('nginx', 'openssl', 'h2load'),
    async start(context): Promise<RunningSubject> {
      const moat = await context.shared(createLocalMoat);
      return {
        targets: { https: moat.target },
        pids: () => pids(moat),
        async [Symbol.asyncDispose]() {
          // The other one uses it too; it ends with the context.
        },
      };
    },
  };
}

export const localMoat: Subject = subject('moat', ({ gatewayPid }) => [gatewayPid]);
export const localMoatWithNode: Subject = subject('moat+node', ({ gatewayPid, nodePid }) => [gatewayPid, nodePid]);
