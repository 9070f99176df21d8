/** wireguard-go between the two machines: nginx in front of it, and caddy. */
import { writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Daemon } from '../../e2e/machine.ts';
import type { BenchContext } from '../context.ts';
import { FAR_ADDRESS, NEAR_ADDRESS, tunMissing } from '../namespaces.ts';
import { missingPrograms, runTool, whenReady } from '../programs.ts';
import type { Subject } from '../subject.ts';
import { createE2eSite } from './e2e-site.ts';
import { placesAt, startCaddyEdge, startNginxEdge } from './edges.ts';

const NEAR = '10.78.0.1';
const FAR = '10.78.0.2';
const PORT = 5180;

export const nginxWireguard: Subject = {
  name: 'nginx+wireguard-go',
  missing: async () => tunMissing() ?? missingPrograms('nginx', 'wireguard-go', 'wg', 'openssl', 'h2load'),
  start: async (context) =>
    startNginxEdge(context, {
      name: 'nginx+wireguard-go',
      port: 8442,
      ...placesAt(FAR),
      tunnel: (await context.shared(createTunnel)).daemons,
      shared: true,
    }),
};

export const caddyWireguard: Subject = {
  name: 'caddy+wireguard-go',
  missing: async () => tunMissing() ?? missingPrograms('caddy', 'wireguard-go', 'wg', 'openssl', 'h2load'),
  start: async (context) =>
    startCaddyEdge(context, {
      name: 'caddy+wireguard-go',
      port: 8443,
      ...placesAt(FAR),
      tunnel: (await context.shared(createTunnel)).daemons,
      shared: true,
    }),
};

interface Tunnel extends AsyncDisposable {
  readonly daemons: readonly Daemon[];
}

interface End {
  readonly namespace: string;
  readonly device: string;
  readonly address: string;
  /** On the cable. */
  readonly endpoint: string;
  readonly keyFile: string;
  readonly publicKey: string;
}

/** One tunnel for both edges: only one of them is measured at a time. */
async function createTunnel(context: BenchContext): Promise<Tunnel> {
  const { namespaces } = await context.shared(createE2eSite);
  const dir = await context.newDir('wireguard');
  const end = async (side: string, namespace: string, address: string, endpoint: string): Promise<End> => {
    const key = await runTool('wg', ['genkey']);
    const keyFile = join(dir, `${side}.key`);
    await writeFile(keyFile, key, { mode: 0o600 });
    const publicKey = (await runTool('wg', ['pubkey'], { input: key })).trim();
    // Its control socket has the device's name, in one folder for all namespaces.
    return { namespace, device: `mb${process.pid}${side}`, address, endpoint, keyFile, publicKey };
  };
  const near = await end('n', namespaces.near, NEAR, NEAR_ADDRESS);
  const far = await end('f', namespaces.far, FAR, FAR_ADDRESS);
  const daemons = [await startEnd(context, near, far), await startEnd(context, far, near)];
  return { daemons, [Symbol.asyncDispose]: () => context.programs.stop(daemons) };
}

async function startEnd(context: BenchContext, own: End, peer: End): Promise<Daemon> {
  const { namespace, device } = own;
  const daemon = context.programs.start('wireguard-go', ['--foreground', device], {
    namespace,
    env: { LOG_LEVEL: 'error' },
  });
  const socket = `/var/run/wireguard/${device}.sock`;
  await whenReady(`wireguard-go ${device}`, daemon, () => Promise.resolve(existsSync(socket)));
  const settings = ['private-key', own.keyFile, 'listen-port', String(PORT)];
  const toPeer = ['peer', peer.publicKey, 'allowed-ips', `${peer.address}/32`, 'endpoint', `${peer.endpoint}:${PORT}`];
  await runTool('wg', ['set', device, ...settings, ...toPeer], { namespace });
  await runTool('ip', ['-n', namespace, 'addr', 'add', `${own.address}/24`, 'dev', device]);
  await runTool('ip', ['-n', namespace, 'link', 'set', device, 'mtu', '1420', 'up']);
  return daemon;
}
