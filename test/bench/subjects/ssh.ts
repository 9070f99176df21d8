/** nginx in front of a port that ssh forwards to the service. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { userInfo } from 'node:os';
import { FAR_ADDRESS, namespacesMissing } from '../namespaces.ts';
import { missingPrograms, runTool, whenReady } from '../programs.ts';
import type { Subject } from '../subject.ts';
import { SERVICE_PORT, STREAM_PORT, createE2eSite } from './e2e-site.ts';
import { startNginxEdge } from './edges.ts';

const PORT = 2222;
const LOCAL_PORT = 8180;
const LOCAL_STREAM_PORT = 8181;

export const nginxSsh: Subject = {
  name: 'nginx+ssh',
  missing: async () =>
    namespacesMissing() ?? missingPrograms('nginx', 'sshd', 'ssh', 'ssh-keygen', 'openssl', 'h2load'),
  async start(context) {
    const { namespaces } = await context.shared(createE2eSite);
    const dir = await context.newDir('ssh');
    const [hostKey, userKey] = [join(dir, 'host'), join(dir, 'user')];
    for (const file of [hostKey, userKey]) await runTool('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
    await writeFile(join(dir, 'known_hosts'), `[${FAR_ADDRESS}]:${PORT} ${await readFile(`${hostKey}.pub`, 'utf8')}`);
    await writeFile(
      join(dir, 'sshd_config'),
      `ListenAddress ${FAR_ADDRESS}:${PORT}\nHostKey ${hostKey}\nAuthorizedKeysFile ${userKey}.pub\nPidFile none
StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nAllowTcpForwarding local\n`,
    );
    // sshd gives up its rights in this folder, and is refused where the distribution did not make it.
    await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
    const server = context.programs.start('/usr/sbin/sshd', ['-D', '-e', '-f', join(dir, 'sshd_config')], {
      namespace: namespaces.far,
    });
    await whenReady('sshd listens', server, () => Promise.resolve(server.output.includes('Server listening')));
    const options = [
      'ExitOnForwardFailure=yes',
      `UserKnownHostsFile=${join(dir, 'known_hosts')}`,
      'IdentitiesOnly=yes',
    ];
    const forwards = [
      `127.0.0.1:${LOCAL_PORT}:127.0.0.1:${SERVICE_PORT}`,
      `127.0.0.1:${LOCAL_STREAM_PORT}:127.0.0.1:${STREAM_PORT}`,
    ].flatMap((forward) => ['-L', forward]);
    const to = ['-p', String(PORT), '-i', userKey, ...forwards, `${userInfo().username}@${FAR_ADDRESS}`];
    const flags = ['-N', '-F', 'none', ...options.flatMap((option) => ['-o', option])];
    const client = context.programs.start('ssh', [...flags, ...to], { namespace: namespaces.near });
    return startNginxEdge(context, {
      name: 'nginx+ssh',
      port: 8447,
      service: { host: '127.0.0.1', port: LOCAL_PORT },
      stream: { host: '127.0.0.1', port: LOCAL_STREAM_PORT },
      tunnel: [client, server],
    });
  },
};
