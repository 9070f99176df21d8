import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { freePorts } from '@moat/testkit';
import { addHostNames, withoutBlock } from '../src/dev/hosts-file.ts';
import { placeGuestbook, readGuestbookFile } from '../src/dev/guestbook.ts';
import { findExample } from '../src/dev/layout.ts';
import { choosePorts } from '../src/dev/ports.ts';
import { noteRunningDev, readRunningDev } from '../src/dev/running.ts';
import { Supervisor } from '../src/dev/supervisor.ts';
import { pathsIn, resolvePaths } from '../src/paths.ts';
import { Terminal } from './support/terminal.ts';

const NEVER = new AbortController().signal;

function program(name: string, script: string, level = 1): Parameters<Supervisor['start']>[0] {
  return { name, level, args: ['-e', script], env: process.env };
}

test('a taken port is replaced and said; the others stay what they were', async () => {
  using terminal = new Terminal();
  const file = terminal.path('ports.json');
  const blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  const { port } = blocker.address() as AddressInfo;
  const any = await choosePorts(file, { https: port });
  const names = Object.keys(any.ports);
  assert.deepEqual(any.taken, [{ name: 'https', wanted: port, instead: any.ports.https }]);
  assert.equal(new Set(Object.values(any.ports)).size, names.length);
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), any.ports);
  // Ports that nobody else gets meanwhile.
  const free = await freePorts(names.length);
  const remembered = Object.fromEntries(names.map((name, i) => [name, free[i]]));
  writeFileSync(file, JSON.stringify(remembered));
  assert.deepEqual((await choosePorts(file, { https: port })).ports, remembered);
  blocker.close();
});

test('processes are stopped by level, and their last words are kept', async () => {
  using terminal = new Terminal();
  const order: string[] = [];
  {
    await using supervisor = new Supervisor({ signal: NEVER }, { logs: terminal.path('logs') });
    const wait = "process.on('SIGTERM', () => process.exit(0)); console.log('up'); setInterval(() => {}, 1000);";
    for (const [name, level] of [
      ['gateway', 0],
      ['node', 1],
      ['web', 2],
    ] as const) {
      const child = supervisor.start(program(name, wait, level));
      void child.exited.then(() => order.push(name));
      assert.equal(await child.line((line) => (line === 'up' ? name : undefined), NEVER), name);
    }
  }
  assert.deepEqual(order, ['web', 'node', 'gateway']);
  assert.equal(readFileSync(terminal.path('logs', 'web.log'), 'utf8'), 'up\n');
});

test('a process that ends by itself ends what waits, with its last words', async () => {
  using terminal = new Terminal();
  await using supervisor = new Supervisor({ signal: NEVER }, { logs: terminal.path('logs') });
  const child = supervisor.start(program('web-1', "console.error('Error: port in use'); process.exit(3)"));
  const expected = { code: 'DEV_PROCESS_ENDED', message: 'web-1 ended: exit code 3', reason: 'Error: port in use' };
  await assert.rejects(
    child.line(() => undefined, NEVER),
    expected,
  );
  await assert.rejects(supervisor.unexpectedEnd, expected);
});

test('last words are an error, never a log line of daily life', async () => {
  using terminal = new Terminal();
  const cases: readonly [string, string][] = [
    [`console.log('{"level":30,"msg":"request"}')`, 'its log does not say why'],
    [`console.log('{"level":50,"msg":"cannot listen","err":{"message":"EADDRINUSE"}}')`, 'cannot listen: EADDRINUSE'],
    [
      `console.error('{"error":{"code":"X","message":"state is locked"}}'); console.log('{"level":30}')`,
      'state is locked',
    ],
  ];
  for (const [script, reason] of cases) {
    await using supervisor = new Supervisor({ signal: NEVER }, { logs: terminal.path('logs') });
    supervisor.start(program('web-1', script));
    await assert.rejects(supervisor.unexpectedEnd, { reason });
  }
});

test('a process that does not heed is ended; all at once too', async () => {
  using terminal = new Terminal();
  await using supervisor = new Supervisor({ signal: NEVER }, { logs: terminal.path('logs') });
  const child = supervisor.start(
    program('deaf', "process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000);"),
  );
  await child.line((line) => (line === 'up' ? true : undefined), NEVER);
  supervisor.killAll();
  assert.equal(await child.exited, 'signal SIGKILL');
});

test('a running dev is found by machines without an agent, until it is gone', () => {
  using terminal = new Terminal();
  const own = pathsIn(terminal.home);
  mkdirSync(own.dev, { recursive: true });
  const forget = noteRunningDev(own, {
    member: 'web-1',
    home: '/dev/web-1',
    gatewaySocket: '/g.sock',
    url: 'https://x',
  });
  assert.equal(readRunningDev(own)?.paths.agentSocket, '/dev/web-1/agent.sock');
  writeFileSync(own.agentSocket, '');
  assert.equal(readRunningDev(own), undefined);
  forget();
  assert.equal(existsSync(`${own.dev}/running.json`), false);
});

test('--hosts adds one marked block and takes it out again', () => {
  using terminal = new Terminal();
  const file = terminal.path('hosts');
  writeFileSync(file, '127.0.0.1 localhost\n');
  addHostNames(['a.localhost'], file);
  const remove = addHostNames(['b.localhost'], file);
  assert.match(
    readFileSync(file, 'utf8'),
    /^127\.0\.0\.1 localhost\n# moat dev\n127\.0\.0\.1 b\.localhost\n# end of moat dev\n$/,
  );
  remove();
  assert.equal(readFileSync(file, 'utf8'), '127.0.0.1 localhost\n');
  assert.equal(withoutBlock('# moat dev\nno end'), '# moat dev\nno end');
  assert.throws(() => addHostNames(['a.localhost'], terminal.path('missing', 'hosts')), { code: 'FILE_UNREADABLE' });
});

test('the guestbook gets this machine’s ports, first node and gateway', async () => {
  using terminal = new Terminal();
  const { ports } = await choosePorts(terminal.path('ports.json'), {});
  const gateway = { domain: 'localhost', peers: ['/ip4/127.0.0.1/tcp/1/p2p/x'] };
  const file = placeGuestbook(readGuestbookFile(findExample()), { webPeer: '12D3KooW', gateway, ports });
  assert.deepEqual(
    file.members.map(({ name, node }) => [name, node]),
    [
      ['web-1', '12D3KooW'],
      ['db-1', undefined],
    ],
  );
  assert.deepEqual(
    file.services.map(({ target }) => target),
    [`127.0.0.1:${ports.webService}`, `127.0.0.1:${ports.dbService}`],
  );
  assert.deepEqual(file.publish[0]?.gateways, [gateway]);
});

test('paths follow MOAT_HOME, then the rules of agent and gateway', () => {
  assert.equal(resolvePaths({ MOAT_HOME: '/m' }).gatewaySocket, '/m/gateway/gateway.sock');
  const user = resolvePaths({ HOME: '/home/ana' }, false);
  assert.equal(user.agentSocket, '/home/ana/.local/state/moat/agent.sock');
  const root = resolvePaths({ HOME: '/root', XDG_STATE_HOME: '/state' }, true);
  assert.deepEqual(
    [root.home, root.gatewayHome, root.dev],
    ['/var/lib/moat', '/state/moat/gateway', '/state/moat/dev'],
  );
});
