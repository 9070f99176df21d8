import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { HostsAnswer } from '@moat/admin-api';
import { networkVariables, removeStale, renderHosts, runWithNames } from '../src/process/run-with-names.ts';
import { Terminal } from './support/terminal.ts';
import type { Io } from '../src/io.ts';

const ANSWER: HostsAnswer = {
  deployment: 'a'.repeat(26),
  network: 'shop',
  hosts: [
    { name: 'db.shop.internal', service: 'db', address: '127.9.9.1', port: 5432 },
    { name: 'my-api.shop.internal', service: 'my-api', address: '127.9.9.2', port: 20_080 },
  ],
  socks: { host: '127.0.0.1', port: 4412 },
  proxyPasswordFile: null,
  netns: null,
  nameServer: null,
};

/** Runs a shell line and returns its exit code; it writes to files of the terminal. */
async function shell(terminal: Terminal, line: string, names: boolean, signal?: AbortSignal): Promise<number> {
  const io = {
    env: { PATH: process.env['PATH'] },
    cwd: terminal.root,
    stdin: { isTTY: false },
    signal: signal ?? new AbortController().signal,
  } as unknown as Io;
  return runWithNames({ file: 'sh', args: ['-c', line], hosts: ANSWER, io, names });
}

test('hosts lines of ours come before the system’s', () => {
  const text = renderHosts('127.0.0.1 localhost\n', ANSWER);
  assert.deepEqual(text.split('\n').slice(1, 4), [
    '127.9.9.1 db.shop.internal',
    '127.9.9.2 my-api.shop.internal',
    '127.0.0.1 localhost',
  ]);
});

test('variables name each service; a proxy only where names do not work', () => {
  assert.deepEqual(networkVariables(ANSWER, true), {
    MOAT_NETWORK: 'shop',
    MOAT_DB_HOST: 'db.shop.internal',
    MOAT_DB_PORT: '5432',
    MOAT_MY_API_HOST: 'my-api.shop.internal',
    MOAT_MY_API_PORT: '20080',
  });
  const without = networkVariables(ANSWER, false);
  assert.equal(without['MOAT_DB_HOST'], '127.9.9.1');
  assert.equal(without['ALL_PROXY'], 'socks5h://127.0.0.1:4412');
  assert.equal(without['HTTPS_PROXY'], 'http://127.0.0.1:4412');
});

test('a proxy with a password gets it from its file', () => {
  using terminal = new Terminal();
  writeFileSync(terminal.path('password'), 'a b/c\n');
  const variables = networkVariables({ ...ANSWER, hosts: [], proxyPasswordFile: terminal.path('password') }, false);
  assert.equal(variables['ALL_PROXY'], 'socks5h://moat:a%20b%2Fc@127.0.0.1:4412');
  assert.equal(variables['HTTPS_PROXY'], 'http://moat:a%20b%2Fc@127.0.0.1:4412');
});

test('what killed runs left behind is removed; a running one’s is not', () => {
  using terminal = new Terminal();
  const ended = spawnSync('true').pid;
  const names = [`moat-run-${ended}-a`, `moat-run-${process.pid}-b`, 'moat-run-other', 'else'];
  for (const name of names) mkdirSync(terminal.path(name));
  removeStale(terminal.root);
  assert.deepEqual(
    names.filter((name) => existsSync(terminal.path(name))),
    names.slice(1),
  );
});

test('a program runs with names where the system allows it, and its exit code comes back', async (t) => {
  using terminal = new Terminal();
  assert.equal(
    await shell(terminal, 'cat /etc/hosts > hosts; echo "$MOAT_DB_HOST" > host; id -u > id; exit 7', true),
    7,
  );
  assert.equal(readFileSync(terminal.path('id'), 'utf8').trim(), String(process.getuid?.()));
  const names = readFileSync(terminal.path('hosts'), 'utf8').includes('127.9.9.1 db.shop.internal');
  const host = readFileSync(terminal.path('host'), 'utf8').trim();
  assert.equal(host, names ? 'db.shop.internal' : '127.9.9.1');
  assert.ok(!readFileSync('/etc/hosts', 'utf8').includes('shop.internal'), 'the machine’s own file is untouched');
  if (!names) t.skip('this system gives no mount namespaces; the program got variables');
});

test('without privileges the program keeps its user and loses what the namespace lent it', (t) => {
  if (process.getuid?.() !== 0) {
    t.skip('only root can become another user to try this');
    return;
  }
  const script = `
    import { runWithNames } from ${JSON.stringify(new URL('../src/process/run-with-names.ts', import.meta.url).href)};
    const io = { env: process.env, cwd: '/', stdin: {}, signal: new AbortController().signal };
    const line = 'grep -q db.shop.internal /etc/hosts && id -u && grep CapEff /proc/self/status';
    process.exitCode = await runWithNames({ file: 'sh', args: ['-c', line], hosts: ${JSON.stringify(ANSWER)}, io, names: true });`;
  const ran = spawnSync(process.execPath, ['--conditions=@moat/source', '--input-type=module', '-e', script], {
    uid: 65_534,
    gid: 65_534,
    encoding: 'utf8',
  });
  if (ran.status !== 0) {
    t.skip(`no user namespaces here: ${ran.stderr}`);
    return;
  }
  const [uid, capabilities] = ran.stdout.trim().split('\n');
  assert.equal(uid, '65534');
  assert.match(capabilities ?? '', /^CapEff:\s+0+$/);
});

test('variables alone also run it; a missing program has its code', async () => {
  using terminal = new Terminal();
  assert.equal(await shell(terminal, 'echo "$ALL_PROXY" > proxy', false), 0);
  assert.equal(readFileSync(terminal.path('proxy'), 'utf8').trim(), 'socks5h://127.0.0.1:4412');
  const io = {
    env: { PATH: process.env['PATH'] },
    cwd: terminal.root,
    stdin: {},
    signal: new AbortController().signal,
  } as unknown as Io;
  for (const names of [true, false]) {
    const missing = runWithNames({ file: 'no-such-program', args: [], hosts: ANSWER, io, names });
    await assert.rejects(missing, { code: 'COMMAND_NOT_FOUND' });
  }
});

test('Ctrl-C reaches the program, whose own end counts', async () => {
  using terminal = new Terminal();
  const stop = new AbortController();
  const line = 'trap "exit 3" TERM; echo ready > ready; while :; do sleep 0.01; done';
  const running = shell(terminal, line, false, stop.signal);
  for (;;) {
    try {
      if (readFileSync(terminal.path('ready'), 'utf8') !== '') break;
    } catch {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  stop.abort();
  assert.equal(await running, 3);
});
