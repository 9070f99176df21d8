/** The operator's side through the real command: reload under load, SIGHUP, backup and restore, what a helper is sent. */
import assert from 'node:assert/strict';
import { readFile, readdir, rename, stat } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { createGatewayClient } from '@moat/admin-api';
import { eventually, within } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const world = new World();
let web: WebService;

before(async () => {
  web = await startWebService('shop');
  await world.startGateway('open', { accessLog: 'access.log' });
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true } },
    services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
    publish: { shop: 'web' },
  });
  await world.machine('owner').ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
  await eventually('shop is public', async () => (await statusOf()) === 200, 40_000);
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

const statusOf = async (): Promise<number> =>
  (await world.gateway.browser.fetch('shop.localhost').catch(() => ({ status: 0 }))).status;

async function changeFile(change: (text: string) => string): Promise<void> {
  const { machine } = world.gateway;
  await machine.write('gateway.yaml', change(await readFile(machine.path('gateway.yaml'), 'utf8')));
}

const accessLines = async (name: string): Promise<string[]> =>
  (await readFile(world.gateway.machine.path(name), 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');

test('a changed gateway.yaml counts while it runs: no request fails, streams live on, a broken one changes nothing', async () => {
  const { machine, daemon, browser } = world.gateway;
  const running = await browser.open('shop.localhost', { path: '/tick' });
  let ticks = 0;
  running.response.on('data', () => (ticks += 1));
  const over = new AbortController();
  const statuses = new Set<number>();
  const load = (async () => {
    while (!over.signal.aborted) statuses.add(await statusOf());
  })();
  await changeFile((text) => `${text}limts: {}\n`);
  const judged = await machine.run(['gateway', 'validate', '--config', machine.path('gateway.yaml')]);
  assert.deepEqual([judged.exitCode, judged.json['code']], [3, 'GATEWAY_CONFIG_INVALID']);
  const broken = await machine.run(['gateway', 'reload']);
  assert.equal(broken.exitCode, 3, broken.stderr);
  assert.match(String(broken.json['message']), /gateway\.yaml:\d+:1 limts: unknown key; did you mean limits\?/);
  await changeFile((text) =>
    text.replace('limts: {}', 'limits: { namesPerDeployment: 7 }\nabuse: { email: a@b.example }'),
  );
  const done = await machine.ok(['gateway', 'reload']);
  assert.deepEqual(done.json['changed'], ['limits.namesPerDeployment', 'abuse']);
  assert.equal((await browser.fetch('localhost', { path: '/.well-known/moat/abuse' })).status, 200);
  await changeFile((text) => text.replace('a@b.example', 'c@d.example'));
  daemon.child.kill('SIGHUP');
  await eventually('the hangup was heard', async () => {
    const page = await browser.fetch('localhost', { path: '/.well-known/moat/abuse' });
    return page.text.includes('c@d.example');
  });
  over.abort();
  await load;
  assert.deepEqual([...statuses], [200]);
  const before = ticks;
  await eventually('the stream lives', () => Promise.resolve(ticks > before));
  running.response.destroy();
});

test('the access log goes on in a new file after it was moved away and a hangup; lines carry the trace', async () => {
  const { machine, daemon, browser } = world.gateway;
  const trace = 'ab'.repeat(16);
  const traceparent = `00-${trace}-${'cd'.repeat(8)}-01`;
  const seen = await browser.fetch('shop.localhost', { path: '/headers', headers: { traceparent } });
  assert.ok(seen.text.includes(traceparent), 'it is passed on as it came');
  await eventually('its line', async () => (await accessLines('access.log')).some((line) => line.includes(trace)));
  assert.ok(!daemon.output.includes('"msg":"request"'), 'not among the others');
  await rename(machine.path('access.log'), machine.path('access.log.1'));
  daemon.child.kill('SIGHUP');
  await eventually('a new file', async () => {
    await statusOf();
    return (await accessLines('access.log')).length > 0;
  });
});

test('a backup made while it runs is the same gateway after everything was lost', async () => {
  const { machine, daemon } = world.gateway;
  await machine.write('secret', 'correct horse\n');
  const flags = ['--passphrase-file', machine.path('secret'), '--config', machine.path('gateway.yaml')];
  const made = await machine.ok(['gateway', 'backup', machine.path('gw.backup'), ...flags]);
  assert.equal(made.json['sealed'], true);
  assert.ok((made.json['files'] as string[]).includes('gateway.yaml'));
  assert.equal((await stat(machine.path('gw.backup'))).mode & 0o777, 0o600);
  const state = machine.path('state', 'gateway');
  assert.ok(!(await readdir(state)).some((name) => name.startsWith('backup-')), 'nothing is left behind');
  const running = await machine.run(['gateway', 'restore', machine.path('gw.backup'), '--replace', ...flags]);
  assert.equal(running.json['code'], 'STATE_LOCKED', running.stderr);
  await daemon.kill('SIGKILL');
  await rename(state, `${state}.lost`);
  const restored = await machine.ok(['gateway', 'restore', machine.path('gw.backup'), ...flags]);
  assert.equal(restored.json['names'], 1);
  await world.restartGateway();
  await eventually('its members are back', async () => (await statusOf()) === 200, 40_000);
  assert.deepEqual((await machine.ok(['audit', '--verify'])).json['problems'], []);
  assert.match((await machine.ok(['audit'])).stdout, /gateway\.restored/);
});

test('killed under load: every decision it acknowledged is there, and its members serve again within seconds', async (t) => {
  const { machine, daemon } = world.gateway;
  const client = createGatewayClient({ socketPath: machine.path('state', 'gateway', 'gateway.sock') });
  const acknowledged: string[] = [];
  const load = (async () => {
    for (let i = 0; ; i++) {
      const { subject } = await client.suspend({ subject: `load-${i}`, status: 451 });
      acknowledged.push(subject);
    }
  })();
  const ended = load.catch(() => undefined);
  await eventually('some are acknowledged', () => Promise.resolve(acknowledged.length > 50));
  await daemon.kill('SIGKILL');
  await ended;
  await world.restartGateway();
  const readyAt = Date.now();
  await eventually('its members are back', async () => (await statusOf()) === 200);
  const backMs = Date.now() - readyAt;
  t.diagnostic(`back ${backMs} ms after the gateway answered its operator`);
  assert.ok(backMs < within(3_000), `${backMs} ms`);
  const kept = new Set((await client.publishers()).suspensions.map(({ subject }) => subject));
  assert.deepEqual(
    acknowledged.filter((subject) => !kept.has(subject)),
    [],
  );
  assert.ok(kept.size <= acknowledged.length + 1, 'at most the one that was on its way');
  const { problems } = await client.checkAudit();
  assert.deepEqual(problems, []);
});

test('a log that somebody changed while the gateway was down is found: exit code 9', async () => {
  const { machine, daemon } = world.gateway;
  await daemon.kill('SIGKILL');
  const { DatabaseSync } = await import('node:sqlite');
  const database = new DatabaseSync(machine.path('state', 'gateway', 'gateway.db'));
  database.exec(`UPDATE audit SET line = replace(line, 'localhost', 'elsewhere') WHERE line LIKE '%name.claimed%'`);
  database.close();
  await world.restartGateway();
  const verified = await machine.run(['audit', '--verify']);
  assert.equal(verified.exitCode, 9, verified.stderr);
  assert.match(JSON.stringify(verified.json['problems']), /it was changed after it was written/);
});

test('what a helper is sent holds status, logs and configuration, and no secret of either machine', async () => {
  for (const machine of [world.gateway.machine, world.machine('owner')]) {
    await machine.write('gateway-of-mine.yaml', 'eab: { hmacKey: very-secret-value }\n');
    const path = machine.path('bundle.json');
    const made = await machine.run(['doctor', '--bundle', path, '--config', machine.path('gateway-of-mine.yaml')]);
    assert.ok(made.exitCode === 0 || made.exitCode === 9, made.stderr);
    const text = await readFile(path, 'utf8');
    const bundle = JSON.parse(text) as { agent: { status: object }; gateway: { status: object }; software: object };
    assert.ok(bundle.agent.status !== undefined && bundle.gateway.status !== undefined);
    assert.ok(!text.includes('very-secret-value'));
    const home = machine.path('state');
    for (const name of await readdir(home, { recursive: true })) {
      if (!/\.key$|password/.test(name)) continue;
      const content = await readFile(`${home}/${name}`, 'utf8');
      for (const piece of content.split(/[\s"',:{}]+/).filter((each) => each.length >= 40)) {
        assert.ok(!text.includes(piece), `${name} is in the bundle of ${machine.name}`);
      }
    }
  }
});
