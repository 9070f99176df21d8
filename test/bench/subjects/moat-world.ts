/**
 * Moat between the two machines, started by its own command as anyone would: a gateway on the near one, which is the anchor
 * too, and members on both.
 */
import { eventually } from '../../e2e/machine.ts';
import { World } from '../../e2e/world.ts';
import type { BenchContext } from '../context.ts';
import { FAR_ADDRESS, NEAR_ADDRESS } from '../namespaces.ts';
import { SERVICE_PORT, STREAM_PORT, createE2eSite } from './e2e-site.ts';
import type { EdgeOptions } from './edges.ts';

/** Members on the far machine; the others are on the near one. */
const FAR_MEMBERS: ReadonlySet<string> = new Set(['web', 'open']);
/** Ports of the member that others may dial. */
const OPEN_PORTS = [4410, 4411] as const;
/** Milliseconds a link may take to become what it should be. */
const PATH_MS = 60_000;

export interface MoatWorld extends AsyncDisposable {
  readonly world: World;
}

/**
 * `web` accepts no connection: it dials the gateway, and others reach it through the anchor. `open` can be dialed.
 * Both have the service; `edge` is a member beside the gateway that may use it.
 */
export async function createMoatWorld(context: BenchContext): Promise<MoatWorld> {
  const { namespaces } = await context.shared(createE2eSite);
  const world = new World({
    gatewayAddress: NEAR_ADDRESS,
    namespaceOf: (machine) => (FAR_MEMBERS.has(machine) ? namespaces.far : namespaces.near),
  });
  const onAbort = (): void => void world[Symbol.asyncDispose]();
  context.signal.addEventListener('abort', onAbort);
  try {
    await world.startGateway();
    const expose = [`${SERVICE_PORT},public`, String(STREAM_PORT)];
    const [overlayPort, linkPort] = OPEN_PORTS;
    const flags = ['--listen', `/ip4/${FAR_ADDRESS}/tcp/${overlayPort}`, '--link-port', String(linkPort)];
    const service = (member: string, port: number, protocol: string): object => ({
      on: [member],
      port,
      target: `127.0.0.1:${port}`,
      protocol,
    });
    await world.grow({
      name: 'bench',
      members: {
        owner: { keeper: true, inbound: false },
        edge: { inbound: false },
        web: { inbound: false, expose },
        open: { flags, expose },
      },
      services: {
        web: service('web', SERVICE_PORT, 'http'),
        open: service('open', SERVICE_PORT, 'http'),
        'web-stream': service('web', STREAM_PORT, 'tcp'),
        'open-stream': service('open', STREAM_PORT, 'tcp'),
      },
      access: [{ from: ['edge'], to: ['web', 'open', 'web-stream', 'open-stream'] }],
      publish: { bench: 'web' },
    });
  } catch (error) {
    await world[Symbol.asyncDispose]();
    throw error;
  }
  return {
    world,
    async [Symbol.asyncDispose]() {
      context.signal.removeEventListener('abort', onAbort);
      await world[Symbol.asyncDispose]();
    },
  };
}

/** Waits until the link of `edge` with `member` is `path`; answers where `edge` has its services. */
export async function privatePlaces(
  world: World,
  member: 'web' | 'open',
  path: 'direct' | 'spliced',
): Promise<Pick<EdgeOptions, 'service' | 'stream'>> {
  const found = async (): Promise<boolean> =>
    (await world.client('edge').ping('bench', { target: member, timeoutMs: 15_000 })).path === path;
  await eventually(`the link to ${member} is ${path}`, found, PATH_MS);
  return {
    service: await world.serviceAddress('edge', member),
    stream: await world.serviceAddress('edge', `${member}-stream`),
  };
}
