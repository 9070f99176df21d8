/** Moat's three ways from a client to the service. */
import { eventually } from '../../e2e/machine.ts';
import { NEAR_ADDRESS, namespacesMissing } from '../namespaces.ts';
import { probe } from '../probe.ts';
import { missingPrograms } from '../programs.ts';
import type { Subject, Target } from '../subject.ts';
import { createE2eSite } from './e2e-site.ts';
import { startNginxEdge } from './edges.ts';
import { createMoatWorld, privatePlaces } from './moat-world.ts';

/** Milliseconds until a publication answers. */
const PUBLIC_MS = 30_000;

const missing = async (): Promise<string | undefined> =>
  namespacesMissing() ?? missingPrograms('nginx', 'openssl', 'h2load');

/** Gateway on the near machine, node on the far one, which dialed it; for streams two members with a direct link. */
export const moat: Subject = {
  name: 'moat',
  missing,
  async start(context) {
    const { namespaces } = await context.shared(createE2eSite);
    const { world } = await context.shared(createMoatWorld);
    const { port, browser } = world.gateway;
    const hostname = 'bench.localhost';
    const { ca } = browser.tls(hostname);
    const target: Target = { address: NEAR_ADDRESS, port, hostname, ca, namespace: namespaces.near };
    const answers = async (): Promise<boolean> => (await probe(target, 'https', '/1k')).status === 200;
    await eventually('the service is public', answers, PUBLIC_MS);
    const { host, port: streamPort } = (await privatePlaces(world, 'open', 'direct')).stream;
    const stream: Target = { address: host, port: streamPort, hostname: 'stream', namespace: namespaces.near };
    return {
      targets: { https: target, tcp: stream },
      pids: (protocol) =>
        protocol === 'tcp'
          ? [world.agent('edge').pid, world.agent('open').pid]
          : [world.gateway.daemon.pid, world.agent('web').pid],
      async [Symbol.asyncDispose]() {
        // Its processes end with the world, which the others use too.
      },
    };
  },
};

/** nginx in front of a private service whose link runs through the anchor: neither member accepts a connection. */
export const moatRelay: Subject = {
  name: 'moat-relay',
  missing,
  async start(context) {
    const { world } = await context.shared(createMoatWorld);
    return startNginxEdge(context, {
      name: 'moat-relay',
      port: 8448,
      ...(await privatePlaces(world, 'web', 'spliced')),
      tunnel: [world.agent('edge'), world.gateway.daemon, world.agent('web')],
      shared: true,
    });
  },
};

/** The same with a direct link, so that what the anchor costs can be seen. */
export const moatPrivate: Subject = {
  name: 'moat-private',
  missing,
  async start(context) {
    const { world } = await context.shared(createMoatWorld);
    return startNginxEdge(context, {
      name: 'moat-private',
      port: 8449,
      ...(await privatePlaces(world, 'open', 'direct')),
      tunnel: [world.agent('edge'), world.agent('open')],
      shared: true,
    });
  },
};
