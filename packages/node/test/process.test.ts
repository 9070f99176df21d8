import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createAgentClient, type AgentClient } from '@moat/admin-api';
import type { NodeReady } from '../src/index.ts';
import { createConsoleLogger } from './console-logger.ts';
import { Agent, Owner, exchange, startEcho, until } from './world.ts';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));

interface Child {
  readonly process: ChildProcess;
  readonly ready: NodeReady;
  readonly client: AgentClient;
  readonly readyMs: number;
}

function launch(stateDir: string, flags: readonly string[] = []): ChildProcess {
  const args = [
    '--conditions=@moat/source',
    MAIN,
    '--ready',
    '--no-mdns',
    '--socks-port',
    '0',
    '--link-host',
    '127.0.0.1',
  ];
  const { PATH, NODE_COMPILE_CACHE } = process.env;
  return spawn(process.execPath, [...args, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH, HOME: stateDir, MOAT_HOME: stateDir, ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }) },
  });
}

/** Starts an agent process and waits for its readiness line. */
async function run(t: TestContext, stateDir: string): Promise<Child> {
  const startedAt = performance.now();
  const level = process.env['MOAT_TEST_LOG'] === undefined ? 'info' : 'debug';
  const child = launch(stateDir, ['--listen', '/ip4/127.0.0.1/tcp/0', '--link-port', '0', '--log-level', level]);
  t.after(() => child.kill('SIGKILL'));
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
    if (process.env['MOAT_TEST_LOG'] !== undefined) process.stderr.write(chunk);
  });
  for await (const line of createInterface({ input: child.stdout ?? process.stdin })) {
    const { kind, data } = JSON.parse(line) as { kind: string; data: NodeReady };
    assert.equal(kind, 'ready');
    const client = createAgentClient({ socketPath: data.socketPath });
    return { process: child, ready: data, client, readyMs: performance.now() - startedAt };
  }
  throw new Error(`the agent ended:\n${log}`);
}

async function temporary(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'moat-process-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function exit(child: ChildProcess): Promise<{ code: number | null; error: string }> {
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  const line = text.split('\n').find((each) => each.startsWith('{"error"'));
  const { error } = line === undefined ? { error: { code: '' } } : (JSON.parse(line) as { error: { code: string } });
  return { code: child.exitCode, error: error.code };
}

test('an agent says when it is ready, guards its state, and stops in order', async (t) => {
  const stateDir = await temporary(t);
  const first = await run(t, stateDir);
  const status = await first.client.status();
  assert.equal(status.peerId, first.ready.peerId);
  assert.equal(status.pid, first.process.pid);
  for (const file of ['agent.sock', 'node.key', 'node.db']) {
    assert.equal((await stat(join(stateDir, file))).mode & 0o777, 0o600, file);
  }
  const second = await exit(launch(stateDir));
  assert.deepEqual(second, { code: 6, error: 'STATE_LOCKED' });
  first.process.kill('SIGTERM');
  assert.equal((await exit(first.process)).code, 143);
  await assert.rejects(first.client.status(), { code: 'AGENT_NOT_RUNNING' });

  const again = await run(t, stateDir);
  assert.equal(again.ready.peerId, first.ready.peerId);
  await again.client.stop();
  assert.equal((await exit(again.process)).code, 0);
});

test('a bad configuration is refused with file, line and column', async (t) => {
  const stateDir = await temporary(t);
  for (const flags of [['--log-level', 'loud'], ['--no-such-flag'], ['--link-port'], ['stray']]) {
    assert.deepEqual(await exit(launch(stateDir, flags)), { code: 3, error: 'CONFIG_INVALID' }, flags.join(' '));
  }
});

test('after kill -9 with every other machine down, the agent serves from disk', async (t) => {
  const stateDir = await temporary(t);
  await using echo = await startEcho();
  let child = await run(t, stateDir);
  {
    await using other = await Agent.start();
    const owner = new Owner(other);
    const place = owner.invited('web-1', 3);
    await owner.apply({
      members: [await owner.pinned('home', 2, other, { keeper: true }), place.member],
      services: [{ name: 'local', on: ['web-1'], port: 8080, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' }],
      access: [{ from: ['web-1'], to: ['local'] }],
    });
    await child.client.join({ token: await place.token(), expose: [{ target: String(echo.port) }] });
  }
  child.process.kill('SIGKILL');
  await exit(child.process);

  child = await run(t, stateDir);
  const detail = await child.client.deployment('shop');
  assert.deepEqual([detail.member, detail.version], ['web-1', 0]);
  const service = detail.services.find(({ name }) => name === 'local');
  assert.ok(service?.local !== undefined && service.local !== null);
  assert.equal(await exchange(service.local, 'from disk'), 'from disk');
  assert.deepEqual(
    (await child.client.exposed()).map(({ target }) => target),
    [`127.0.0.1:${echo.port}`],
  );
  const { rssBytes } = await child.client.status();
  t.diagnostic(`ready after ${Math.round(child.readyMs)} ms, ${Math.round(rssBytes / 1024 / 1024)} MiB`);
});

test('a peer comes back after kill -9 of either side, and nothing is lost', async (t) => {
  const stateDir = await temporary(t);
  await using echo = await startEcho();
  await using one = await Agent.start({ logger: createConsoleLogger('one') });
  const owner = new Owner(one);
  const place = owner.invited('web-1', 3);
  let child = await run(t, stateDir);
  await owner.apply({
    members: [await owner.pinned('db-1', 2, one, { keeper: true }), place.member],
    services: [{ name: 'db', on: ['db-1'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' }],
    access: [{ from: ['web-1'], to: ['db'] }],
  });
  await one.client.expose({ deployment: 'shop', target: String(echo.port) });
  await child.client.join({ token: await place.token() });
  for (let round = 0; round < 3; round++) {
    child.process.kill('SIGKILL');
    await exit(child.process);
    child = await run(t, stateDir);
    await until('the service answers again', async () => {
      const { services } = await child.client.deployment('shop');
      const local = services.find(({ name }) => name === 'db')?.local;
      return local !== undefined && local !== null && (await exchange(local, 'again').catch(() => '')) === 'again';
    });
  }
});

test('what a version says while a machine is away reaches it on return', async () => {
  await using one = await Agent.start();
  await using two = await Agent.start();
  const owner = new Owner(one);
  const place = owner.invited('web-1', 3);
  await owner.apply({ members: [await owner.pinned('home', 2, one, { keeper: true }), place.member] });
  await two.client.join({ token: await place.token() });
  await two.stop();
  for (let i = 0; i < 3; i++) await owner.apply({ network: { ipv4: '10.77.0.0/16', plane: 'auto' } });
  await two.start();
  await until('version 3', async () => (await two.client.deployment('shop')).version === 3);
  await assert.rejects(two.client.version('shop', 1), { code: 'VERSION_UNKNOWN' });
  const { contract, signed } = await one.client.version('shop', 1);
  await assert.rejects(one.client.submitVersion('shop', { contract, signed }), { code: 'VERSION_OLD' });
});

test('the configuration is merged from files, environment and flags', async (t) => {
  const { loadNodeConfig } = await import('../src/index.ts');
  const directory = await temporary(t);
  const [system, user] = [join(directory, 'system.yaml'), join(directory, 'user.yaml')];
  await writeFile(system, 'mdns: false\nlinkPort: 1\nlogLevel: warn\n');
  await writeFile(user, 'linkPort: 2\n');
  const files = [system, join(directory, 'absent.yaml'), user];
  const env = {
    MOAT_HOME: directory,
    MOAT_LOG_LEVEL: 'debug',
    MOAT_SOCKS_PORT: 'off',
    MOAT_LISTEN: '/ip4/127.0.0.1/tcp/1',
  };
  const config = await loadNodeConfig({ env, files, flags: { anchor: true, linkPort: undefined }, isRoot: false });
  assert.deepEqual(config, {
    stateDir: directory,
    socketPath: join(directory, 'agent.sock'),
    listen: ['/ip4/127.0.0.1/tcp/1'],
    announce: [],
    linkPort: 2,
    linkHost: '::',
    anchor: true,
    relay: false,
    relayPorts: undefined,
    mdns: false,
    socksPort: null,
    socksPortChosen: true,
    dns: true,
    access: 'loopback',
    acmeDirectory: 'letsencrypt',
    acmeCa: undefined,
    certificates: [],
    listed: false,
    region: undefined,
    terms: undefined,
    offeredTo: undefined,
    directoryAnchors: [],
    logLevel: 'debug',
  });
  const closed = await loadNodeConfig({ env: {}, files: [], flags: { inbound: false }, isRoot: true });
  assert.deepEqual([closed.stateDir, closed.listen, closed.linkPort], ['/var/lib/moat', [], null]);
  for (const [text, complaint] of [
    ['mdns: false\nlinkprt: 3\n', /user\.yaml:2:\d+: unknown key linkprt; did you mean linkPort\?/],
    ['linkPort: many\n', /user\.yaml:1:11: linkPort: /],
    ['listen: [\n', /user\.yaml:\d:\d+: /],
  ] as const) {
    await writeFile(user, text);
    await assert.rejects(loadNodeConfig({ env: {}, files: [user] }), { code: 'CONFIG_INVALID', message: complaint });
  }
  for (const [flags, message] of [
    [{ access: 'public' }, '--access: one of loopback, private'],
    [{ logLevel: 'loud' }, '--log-level: one of trace, debug, info, warn, error'],
    [{ linkPort: 99_999 }, '--link-port: a port is 0 to 65535, or off'],
  ] as const) {
    const wrong = loadNodeConfig({ env: {}, files: [], flags: flags as object });
    await assert.rejects(wrong, { code: 'CONFIG_INVALID', message });
  }
  await assert.rejects(loadNodeConfig({ env: { MOAT_LINK_PORT: 'x' }, files: [] }), { code: 'CONFIG_INVALID' });
});

test('a machine takes its next key in the same process, and after a kill -9 at any instant', async (t) => {
  for (const delayMs of [null, 0, 700, 1050, 1300]) {
    const stateDir = await temporary(t);
    const child = await run(t, stateDir);
    const { client } = child;
    const agent = { client, peerId: async () => (await client.status()).peerId } as unknown as Agent;
    const owner = new Owner(agent);
    await owner.apply({ members: [await owner.pinned('home', 2, agent, { keeper: true })] });
    const { current, next } = await client.rotateKey();
    assert.equal(current, child.ready.peerId);
    await owner.apply({ members: owner.contract.members.map((each) => ({ ...each, node: next })) });
    let { pid } = child.process;
    if (delayMs !== null) {
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      child.process.kill('SIGKILL');
      await exit(child.process);
      ({ pid } = (await run(t, stateDir)).process);
    }
    const status = await until('the next key is in use', async () => {
      const found = await client.status().catch(() => null);
      return found?.peerId === next && found;
    });
    assert.equal(status.pid, pid);
    assert.equal(status.deployments[0]?.member, 'home');
    const keys = (await readdir(stateDir)).filter((name) => name.startsWith('node.key'));
    assert.deepEqual(keys, ['node.key']);
  }
});
