import assert from 'node:assert/strict';
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { isMoatError } from '@moat/core';
import { hostsFileOf, planRun, probeNamespaces, type NamespaceKind, type RunUser } from '../../src/index.ts';

const NOBODY = { uid: 65_534, gid: 65_534 };
const MYSELF = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

/** Runs a planned command, as somebody else if asked. */
async function run(kind: NamespaceKind, user: RunUser, command: readonly string[]): Promise<SpawnSyncReturns<string>> {
  const directory = await mkdtemp(join(tmpdir(), 'moat-run-'));
  try {
    const hostsFile = join(directory, 'hosts');
    const services = [{ name: 'web', network: 'shop', address: '127.9.8.7', port: 80 }];
    await writeFile(hostsFile, hostsFileOf(await readFile('/etc/hosts', 'utf8'), services));
    // Whoever runs it must be able to read it.
    await Promise.all([chmod(directory, 0o755), chmod(hostsFile, 0o644)]);
    const plan = planRun({ command, hostsFile, environment: { MOAT_WEB_HOST: '127.9.8.7' } }, kind, user);
    const drop =
      user.uid === MYSELF.uid ? [] : ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'];
    const [file = '', ...args] = [...drop, plan.file, ...plan.args];
    return spawnSync(file, args, { encoding: 'utf8', env: { ...process.env, ...plan.environment }, timeout: 20_000 });
  } finally {
    await rm(directory, { recursive: true });
  }
}

const SHOW = [
  'sh',
  '-c',
  'getent hosts web.shop.internal; id -u; echo "$MOAT_WEB_HOST $1 $2"; exit 7',
  'sh',
  'a  b',
  "$'",
];

suite('run', () => {
  test('the environment alone where there are no namespaces', async () => {
    const { status, stdout } = await run('none', MYSELF, SHOW);
    assert.equal(status, 7);
    assert.equal(stdout, `${MYSELF.uid}\n127.9.8.7 a  b $'\n`);
  });

  test('names, the same user, arguments and exit status in an own namespace', async (t) => {
    const kind = await probeNamespaces();
    if (kind === 'none') return t.skip('this machine allows no namespaces');
    const { status, stdout } = await run(kind, MYSELF, SHOW);
    assert.equal(status, 7);
    assert.match(stdout, /^127\.9\.8\.7\s+web\.shop\.internal\n/);
    assert.ok(stdout.endsWith(`\n${MYSELF.uid}\n127.9.8.7 a  b $'\n`), stdout);
    assert.equal((await readFile('/etc/hosts', 'utf8')).includes('web.shop.internal'), false);
  });

  test('an unprivileged user gets the same, and no right to mount', async (t) => {
    if (MYSELF.uid !== 0) return t.skip('only root can become somebody else');
    const probe = await run('user', NOBODY, ['true']);
    if (probe.status !== 0) return t.skip('no user namespaces here, or no setpriv');
    const { status, stdout } = await run('user', NOBODY, SHOW);
    assert.equal(status, 7);
    assert.match(stdout, /^127\.9\.8\.7\s+web\.shop\.internal\n65534\n/);
    const mounting = await run('user', NOBODY, ['mount', '--bind', '/tmp', '/mnt']);
    assert.notEqual(mounting.status, 0);
  });

  test('no command', () => {
    for (const kind of ['none', 'user', 'mount'] as const) {
      assert.throws(
        () => planRun({ command: [], hostsFile: '/x', environment: {} }, kind, MYSELF),
        (error: unknown) => isMoatError(error, 'RUN_UNAVAILABLE'),
      );
    }
  });
});
