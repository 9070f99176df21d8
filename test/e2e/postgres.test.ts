/** PostgreSQL from Debian, used from another node while agents die. */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from '@moat/testkit';
import { eventually, full } from './machine.ts';
import { World } from './world.ts';

const run = promisify(execFile);
const BIN = dirname(globSync('/usr/lib/postgresql/*/bin/initdb')[0] ?? '/nonexistent/initdb');
const missing = [join(BIN, 'initdb'), join(BIN, 'postgres'), '/usr/bin/psql'].filter((file) => !existsSync(file));
const pgbench = [join(BIN, 'pgbench'), '/usr/bin/pgbench'].find((file) => existsSync(file));
const skip = missing.length > 0 ? `PostgreSQL is not installed (${missing.join(', ')})` : false;

const world = new World();
let server: ChildProcess;
let dir = '';
let address = { host: '', port: 0 };

/** PostgreSQL refuses to run as root. */
function unprivileged(): { uid?: number; gid?: number } {
  return process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
}

function psql(...args: string[]): Promise<{ stdout: string }> {
  return run(
    '/usr/bin/psql',
    ['-h', address.host, '-p', String(address.port), '-U', 'moat', '-d', 'postgres', '-tA', ...args],
    {
      env: { ...process.env, PGCONNECT_TIMEOUT: '5' },
    },
  );
}

suite('postgres over the private network', { skip }, () => {
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'moat-pg-'));
    chmodSync(dir, 0o777);
    const data = join(dir, 'data');
    execFileSync(join(BIN, 'initdb'), ['-D', data, '-U', 'moat', '-A', 'trust', '--no-sync'], {
      ...unprivileged(),
      stdio: 'ignore',
      cwd: dir,
    });
    const port = await freePort();
    server = spawn(join(BIN, 'postgres'), ['-D', data, '-p', String(port), '-k', dir, '-h', '127.0.0.1'], {
      ...unprivileged(),
      stdio: 'ignore',
      cwd: dir,
    });
    await world.startGateway();
    await world.grow({
      name: 'shop',
      members: { owner: { keeper: true }, app: {}, 'db-1': { expose: [String(port)] } },
      services: { db: { on: ['db-1'], port: 5432, target: `127.0.0.1:${port}` } },
      access: [{ from: ['app'], to: ['db'] }],
    });
    address = await world.serviceAddress('app', 'db');
    await eventually('postgres answers', async () => (await psql('-c', 'select 1')).stdout.trim() === '1', 30_000);
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
    if (server?.exitCode === null) {
      const exit = once(server, 'exit');
      server.kill('SIGINT');
      await exit;
    }
    if (dir) rmSync(dir, { recursive: true, force: true });
  });

  test('psql works with large results', async () => {
    const { stdout } = await run(
      '/usr/bin/psql',
      [
        '-h',
        address.host,
        '-p',
        String(address.port),
        '-U',
        'moat',
        '-d',
        'postgres',
        '-tA',
        '-c',
        "select repeat('x', 1000) from generate_series(1, 20000)",
      ],
      { maxBuffer: 64 << 20 },
    );
    assert.equal(stdout.length, 1001 * 20_000);
  });

  test('pgbench runs without an error', { skip: pgbench ? false : 'pgbench is not installed' }, async () => {
    const at = ['-h', address.host, '-p', String(address.port), '-U', 'moat', 'postgres'];
    await run(pgbench ?? '', ['-i', '-q', ...at]);
    const { stdout } = await run(pgbench ?? '', ['-c', '8', '-j', '2', '-T', full ? '15' : '4', ...at]);
    assert.match(stdout, /number of failed transactions: 0/);
  });

  for (const victim of ['app', 'db-1']) {
    test(`kill -9 of the agent of ${victim}: reconnects, nothing acknowledged is lost`, async () => {
      await psql('-c', 'drop table if exists entries', '-c', 'create table entries (n int primary key)');
      const acknowledged: number[] = [];
      const stop = new AbortController();
      let interrupted = 0;
      const writer = (async () => {
        for (let n = 0; !stop.signal.aborted; n++) {
          try {
            await psql('-c', `insert into entries values (${n})`);
            acknowledged.push(n);
          } catch {
            interrupted += 1;
          }
        }
      })();
      await eventually('some rows are in', async () => acknowledged.length >= 5);
      await world.agent(victim).kill('SIGKILL');
      // A link whose path is gone is kept for half a minute.
      await eventually('writers notice', async () => interrupted > 0, 60_000);
      const sofar = acknowledged.length;
      await world.restart(victim);
      await eventually('rows go in again', async () => acknowledged.length >= sofar + 5, 30_000);
      stop.abort();
      await writer;
      const { stdout } = await psql('-c', 'select n from entries');
      const stored = new Set(stdout.trim().split('\n').map(Number));
      assert.deepEqual(
        acknowledged.filter((n) => !stored.has(n)),
        [],
      );
    });
  }
});
