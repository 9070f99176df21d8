/**
 * Moat between the two machines, started by its own command as anyone would: a gateway on the near one, which is the anchor
 * too, and members on both.
 */
import { eventually } from '../../e2e/machine.ts';
import { World } from '../../e2e/world.ts';
import type { BenchContext } from '../context.ts';
import { FAR_ADDRESS, NEAR_ADDRESS } from '../namespaces.ts';
import { SERVICE_PORT, createE2eSite } from './e2e-site.ts';

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
    const expose = [`${SERVICE_PORT},public`];
    const [overlayPort, linkPort] = OPEN_PORTS;
    const flags = ['--listen', `/ip4/${FAR_ADDRESS}/tcp/${overlayPort}`, '--link-port', String(linkPort)];
    const service = (member: string): object => ({
      on: [member],
      port: SERVICE_PORT,
      target: `127.0.0.1:${SERVICE_PORT}`,
      protocol: 'http',
    });
    await world.grow({
      name: 'bench',
      members: {
        owner: { keeper: true, inbound: false },
        edge: { inbound: false },
        web: { inbound: false, expose },
        open: { flags, expose },
      },
      services: { web: service('web'), open: service('open') },
      access: [{ from: ['edge'], to: ['web', 'open'] }],
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

/** Waits until the link of `edge` with the member behind `service` is `path`; answers where `edge` has the service. */
export async function privateUpstream(world: World, service: string, path: 'direct' | 'spliced'): Promise<string> {
  const found = async (): Promise<boolean> =>
    (await world.client('edge').ping('bench', { target: service, timeoutMs: 15_000 })).path === path;
  await eventually(`the link to ${service} is ${path}`, found, PATH_MS);
  const { host, port } = await world.serviceAddress('edge', service);
  return `${host}:${port}`;
}
