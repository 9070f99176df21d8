/** nginx in front of two yggdrasil nodes that know each other's address on the cable. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Daemon } from '../../e2e/machine.ts';
import type { BenchContext } from '../context.ts';
import { FAR_ADDRESS, tunMissing } from '../namespaces.ts';
import { missingPrograms, runTool } from '../programs.ts';
import type { Subject } from '../subject.ts';
import { createE2eSite } from './e2e-site.ts';
import { placesAt, startNginxEdge } from './edges.ts';

const PORT = 6560;

export const nginxYggdrasil: Subject = {
  name: 'nginx+yggdrasil',
  missing: async () => tunMissing() ?? missingPrograms('nginx', 'yggdrasil', 'openssl', 'h2load'),
  async start(context) {
    const { namespaces } = await context.shared(createE2eSite);
    // Peers over plain TCP: what is inside is sealed from end to end, and TLS around it would cost once more.
    const uri = `tcp://${FAR_ADDRESS}:${PORT}`;
    const far = await startNode(context, 'far', namespaces.far, { Listen: [uri] });
    const near = await startNode(context, 'near', namespaces.near, { Peers: [uri] });
    return startNginxEdge(context, {
      name: 'nginx+yggdrasil',
      port: 8446,
      ...placesAt(far.address),
      tunnel: [near.daemon, far.daemon],
    });
  },
};

async function startNode(
  context: BenchContext,
  name: string,
  namespace: string,
  settings: object,
): Promise<{ daemon: Daemon; address: string }> {
  const generated = JSON.parse(await runTool('yggdrasil', ['-genconf', '-json'])) as object;
  const quiet = { Listen: [], Peers: [], MulticastInterfaces: [], AdminListen: 'none', IfName: 'ygg' };
  const file = join(await context.newDir(`yggdrasil-${name}`), 'yggdrasil.conf');
  await writeFile(file, JSON.stringify({ ...generated, ...quiet, ...settings }), { mode: 0o600 });
  const address = (await runTool('yggdrasil', ['-useconffile', file, '-address'])).trim();
  return { daemon: context.programs.start('yggdrasil', ['-useconffile', file], { namespace }), address };
}
