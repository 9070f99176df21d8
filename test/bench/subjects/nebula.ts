/** nginx in front of a nebula network of two, with AES. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Daemon } from '../../e2e/machine.ts';
import type { BenchContext } from '../context.ts';
import { FAR_ADDRESS, NEAR_ADDRESS, tunMissing } from '../namespaces.ts';
import { missingPrograms, runTool } from '../programs.ts';
import type { Subject } from '../subject.ts';
import { createE2eSite } from './e2e-site.ts';
import { placesAt, startNginxEdge } from './edges.ts';

const NEAR = '10.79.0.1';
const FAR = '10.79.0.2';
const PORT = 4242;

export const nginxNebula: Subject = {
  name: 'nginx+nebula',
  missing: async () => tunMissing() ?? missingPrograms('nginx', 'nebula', 'nebula-cert', 'openssl', 'h2load'),
  async start(context) {
    const { namespaces } = await context.shared(createE2eSite);
    const dir = await context.newDir('nebula');
    await runTool('nebula-cert', ['ca', '-name', 'bench'], { cwd: dir });
    const far = await startHost(context, {
      dir,
      name: 'far',
      namespace: namespaces.far,
      address: FAR,
      listen: FAR_ADDRESS,
    });
    const near = await startHost(context, {
      dir,
      name: 'near',
      namespace: namespaces.near,
      address: NEAR,
      listen: NEAR_ADDRESS,
    });
    return startNginxEdge(context, {
      name: 'nginx+nebula',
      port: 8444,
      ...placesAt(FAR),
      tunnel: [near, far],
    });
  },
};

interface Host {
  readonly dir: string;
  readonly name: string;
  readonly namespace: string;
  readonly address: string;
  /** Address on the cable. */
  readonly listen: string;
}

async function startHost(context: BenchContext, host: Host): Promise<Daemon> {
  const { dir, name, namespace, address, listen } = host;
  await runTool('nebula-cert', ['sign', '-name', name, '-ip', `${address}/24`], { cwd: dir });
  const isLighthouse = address === FAR;
  const anyone = [{ port: 'any', proto: 'any', host: 'any' }];
  const file = join(dir, `${name}.yml`);
  await writeFile(
    file,
    stringify({
      pki: { ca: join(dir, 'ca.crt'), cert: join(dir, `${name}.crt`), key: join(dir, `${name}.key`) },
      static_host_map: { [FAR]: [`${FAR_ADDRESS}:${PORT}`] },
      lighthouse: { am_lighthouse: isLighthouse, interval: 60, hosts: isLighthouse ? [] : [FAR] },
      listen: { host: listen, port: PORT },
      cipher: 'aes',
      tun: { dev: 'nebula', mtu: 1300 },
      logging: { level: 'error' },
      firewall: { outbound: anyone, inbound: anyone },
    }),
  );
  return context.programs.start('nebula', ['-config', file], { namespace });
}
