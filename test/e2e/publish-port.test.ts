/** One command and no file give a port of this machine a public address; Ctrl-C takes it back, a kill does not. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';
import { parseDeploymentFile } from '@moat/contract';
import { eventually, type Daemon, type Machine } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const world = new World();
let laptop: Machine;
let web: WebService;
let gateway: readonly string[];

before(async () => {
  web = await startWebService('laptop');
  await world.startGateway();
  laptop = await world.addMachine('laptop');
  laptop.env['MOAT_CA_FILE'] = String((await world.gateway.machine.ok(['gateway', 'status'])).json['caFile']);
  gateway = ['--gateway', `localhost:${world.gateway.port}`, '--yes'];
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

const get = async (host: string): Promise<{ status: number; text: string }> => world.gateway.browser.fetch(host);

/** What a running command printed on stdout as JSON. */
async function said(daemon: Daemon, kind: string): Promise<Record<string, unknown>> {
  return eventually(`moat says ${kind}`, async () => {
    const lines = daemon.output.split('\n').filter((line) => line.startsWith('{'));
    const found = lines.map((line) => JSON.parse(line) as { kind?: string; data: Record<string, unknown> });
    const line = found.find((one) => one.kind === kind);
    if (line === undefined && !daemon.running) throw new Error(`it ended:\n${daemon.output}`);
    return line?.data;
  });
}

suite('moat publish PORT', () => {
  test('without a gateway it says the ways on and makes nothing', async () => {
    const refused = await laptop.run(['publish', String(web.port)]);
    assert.equal(refused.exitCode, 2, refused.stderr);
    assert.equal(refused.json['code'], 'NO_GATEWAY');
    assert.deepEqual((await laptop.ok(['node', 'status'])).json['deployments'], []);
    assert.throws(() => readFileSync(laptop.path('state', 'owner.key')), { code: 'ENOENT' });
  });

  test('the address works once it is printed; Ctrl-C takes it back at once', async () => {
    const publish = laptop.spawn(['publish', String(web.port), '--name', 'try', ...gateway, '--json']);
    const published = await said(publish, 'published');
    assert.equal(published['url'], `https://try.localhost:${world.gateway.port}`);
    assert.equal(published['status'], 200);
    assert.equal((await get('try.localhost')).text, 'hello from laptop\n');

    await publish.kill('SIGINT');
    assert.equal(publish.child.exitCode, 0, publish.output);
    await said(publish, 'withdrawn');
    await eventually('the name is withdrawn', async () => (await get('try.localhost')).status === 404);
    assert.deepEqual((await laptop.ok(['node', 'expose'])).json['exposed'], []);
  });

  test('what it made is an ordinary deployment that can be written out', async () => {
    const file = await laptop.ok(['fmt', '--from-contract', '-n', 'home']);
    const { file: parsed } = parseDeploymentFile(String(file.json['text']), 'moat.yaml');
    assert.equal(parsed?.name, 'home');
    assert.deepEqual(parsed?.services, []);
    const [member] = parsed?.members ?? [];
    assert.equal(member?.keeper, true);
  });

  test('kept with --bg, under a name that is this machine’s own; unpublish ends it', async () => {
    const kept = await laptop.ok(['publish', String(web.port), '--bg', ...gateway]);
    const { name } = kept.json['publication'] as { name: string };
    assert.match(name, new RegExp(`^web-${web.port}-[a-z2-7]{6}$`));
    assert.equal((await get(`${name}.localhost`)).status, 200);
    const again = await laptop.ok(['publish', String(web.port), '--bg']);
    assert.equal(again.json['changed'], false, 'at the gateway that is in use, and nothing to change');
    const ended = await laptop.ok(['unpublish', name, '-n', 'home']);
    assert.equal(ended.json['stillExposed'], `127.0.0.1:${web.port}`, 'consent is the operator’s to take back');
    await laptop.ok(['node', 'unexpose', String(web.port), '--to', 'home']);
    await eventually('it is withdrawn', async () => (await get(`${name}.localhost`)).status === 404);
  });

  test('a program offers its service for as long as it runs', async () => {
    const service = `web-${web.port}`;
    const script = "console.log('PORT=' + process.env.PORT); setInterval(() => {}, 1000)";
    const exposed = async (): Promise<object[]> => (await laptop.ok(['node', 'expose'])).json['exposed'] as object[];
    const program = ['--', process.execPath, '-e', script];
    const refused = await laptop.run(['run', '--service', service, '--port', '1', '--json', ...program]);
    assert.equal(refused.exitCode, 2, refused.stderr);
    const running = laptop.spawn(['run', '--service', service, '--no-names', ...program]);
    await eventually('it knows its port', async () => running.output.includes(`PORT=${web.port}`));
    const target = `127.0.0.1:${web.port}`;
    assert.deepEqual(
      (await exposed()).map((line) => ({ ...line, deployment: '' })),
      [{ deployment: '', target, public: false }],
    );
    await running.kill('SIGTERM');
    await eventually('the port is closed', async () => (await exposed()).length === 0);
  });

  test('after a kill of the command the port is closed again; run again, it is open', async () => {
    const publish = laptop.spawn(['publish', String(web.port), '--name', 'lost', ...gateway, '--json']);
    await said(publish, 'published');
    await publish.kill('SIGKILL');
    await eventually('nobody is let in', async () => (await get('lost.localhost')).status === 503);
    assert.deepEqual((await laptop.ok(['node', 'expose'])).json['exposed'], []);
    const back = laptop.spawn(['publish', String(web.port), '--name', 'lost', ...gateway, '--json']);
    assert.equal((await said(back, 'published'))['status'], 200);

    await world.agent('laptop').kill('SIGKILL');
    await eventually('nobody serves it', async () => (await get('lost.localhost')).status === 503);
    await world.restart('laptop');
    await eventually('the agent is told again', async () => (await get('lost.localhost')).status === 200);
    await back.kill('SIGINT');
    await eventually('it is withdrawn', async () => (await get('lost.localhost')).status === 404);
  });

  test('without an agent it says how to start one', async () => {
    await world.agent('laptop').kill('SIGTERM');
    const refused = await laptop.run(['publish', '3000', ...gateway]);
    assert.equal(refused.exitCode, 8);
    assert.deepEqual(refused.json['next'], ['moat node run']);
  });
});
