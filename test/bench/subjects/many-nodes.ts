/** The same gateway in front of 1, 10 and 100 nodes that offer one service. Its CPU time is counted, not that of the nodes. */
import { fileURLToPath } from 'node:url';
import { freePort } from '@moat/testkit';
import { probe } from '../probe.ts';
import { missingPrograms, whenReady } from '../programs.ts';
import type { Subject, Target } from '../subject.ts';
import { createTlsFiles } from '../tls-files.ts';
import { BODY_BYTES } from './e2e-site.ts';
import { LOOPBACK } from './local-site.ts';

const MAIN = fileURLToPath(new URL('many-nodes-main.ts', import.meta.url));

export const nodeCounts: readonly Subject[] = [1, 10, 100].map((nodes) => ({
  // The first is what the others are compared with.
  name: nodes === 1 ? 'moat' : `moat-${nodes}-nodes`,
  missing: async () => missingPrograms('openssl', 'h2load'),
  async start(context) {
    const { hostname, ca, certificateFile, keyFile } = await context.shared(createTlsFiles);
    const [port, linkPort] = [await freePort(), await freePort()];
    const bodyBytes = BODY_BYTES['1k'];
    const settings = { host: LOOPBACK, hostname, port, linkPort, nodes, certificateFile, keyFile, bodyBytes };
    const start = (role: string): ReturnType<typeof context.programs.start> =>
      context.programs.start(process.execPath, ['--conditions=@moat/source', MAIN, role, JSON.stringify(settings)]);
    const gateway = start('gateway');
    await whenReady('the gateway', gateway, () => Promise.resolve(gateway.output.includes('ready')));
    const others = start('nodes');
    await whenReady(`${nodes} nodes`, others, () => Promise.resolve(others.output.includes('ready')));
    const target: Target = { address: LOOPBACK, port, hostname, ca };
    await whenReady('the service', others, async () => (await probe(target, 'https', '/1k')).status === 200);
    return {
      targets: { https: target },
      pids: () => [gateway.pid],
      [Symbol.asyncDispose]: () => context.programs.stop([gateway, others]),
    };
  },
}));
