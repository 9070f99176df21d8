/** nginx in front of a tinc 1.0 network of two, as Debian has it. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Daemon } from '../../e2e/machine.ts';
import type { BenchContext } from '../context.ts';
import { FAR_ADDRESS, NEAR_ADDRESS, tunMissing } from '../namespaces.ts';
import { missingPrograms, runTool } from '../programs.ts';
import type { Subject } from '../subject.ts';
import { createE2eSite } from './e2e-site.ts';
import { placesAt, startNginxEdge } from './edges.ts';

const NEAR = '10.80.0.1';
const FAR = '10.80.0.2';
const PORT = 6550;

export const nginxTinc: Subject = {
  name: 'nginx+tinc',
  missing: async () => tunMissing() ?? missingPrograms('nginx', 'tincd', 'openssl', 'h2load'),
  async start(context) {
    const { namespaces } = await context.shared(createE2eSite);
    const far: Host = { name: 'far', namespace: namespaces.far, address: FAR, listen: FAR_ADDRESS };
    const near: Host = { name: 'near', namespace: namespaces.near, address: NEAR, listen: NEAR_ADDRESS };
    const keys = { far: await newKeys(), near: await newKeys() };
    const publicKeys = { far: keys.far.public, near: keys.near.public };
    const tunnel: Daemon[] = [];
    for (const host of [far, near]) tunnel.push(await startHost(context, host, keys[host.name].private, publicKeys));
    return startNginxEdge(context, {
      name: 'nginx+tinc',
      port: 8445,
      ...placesAt(FAR),
      tunnel,
    });
  },
};

interface Host {
  readonly name: 'near' | 'far';
  readonly namespace: string;
  readonly address: string;
  /** Address on the cable. */
  readonly listen: string;
}

async function newKeys(): Promise<{ private: string; public: string }> {
  const key = await runTool('openssl', ['genrsa', '-traditional', '2048']);
  return { private: key, public: await runTool('openssl', ['rsa', '-RSAPublicKey_out'], { input: key }) };
}

async function startHost(
  context: BenchContext,
  host: Host,
  privateKey: string,
  publicKeys: Readonly<Record<'near' | 'far', string>>,
): Promise<Daemon> {
  const dir = await context.newDir(`tinc-${host.name}`);
  await mkdir(join(dir, 'hosts'));
  const cable = { near: NEAR_ADDRESS, far: FAR_ADDRESS };
  const inside = { near: NEAR, far: FAR };
  for (const name of ['near', 'far'] as const) {
    await writeFile(
      join(dir, 'hosts', name),
      `Address = ${cable[name]} ${PORT}\nPort = ${PORT}\nSubnet = ${inside[name]}/32\n${publicKeys[name]}`,
    );
  }
  const connect = host.name === 'near' ? 'ConnectTo = far\n' : '';
  await writeFile(join(dir, 'tinc.conf'), `Name = ${host.name}\nInterface = tinc\nAddressFamily = ipv4\n${connect}`);
  await writeFile(join(dir, 'rsa_key.priv'), privateKey, { mode: 0o600 });
  const up = join(dir, 'tinc-up');
  await writeFile(up, `#!/bin/sh\nip addr add ${host.address}/24 dev $INTERFACE\nip link set $INTERFACE up\n`);
  await chmod(up, 0o755);
  return context.programs.start('tincd', ['-c', dir, '-D', `--pidfile=${join(dir, 'pid')}`], {
    namespace: host.namespace,
  });
}
