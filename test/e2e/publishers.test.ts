/** Who may publish at a gateway: invited by code, allowed and denied while it runs; nothing the code touches keeps it. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { eventually, within } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const world = new World();
let web: WebService;
let deployment = '';

before(async () => {
  web = await startWebService('shop');
  await world.startGateway('invited');
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true } },
    services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
  });
  await world.machine('owner').ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
  for (const { id } of await world.client('owner').deployments()) deployment = id;
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

const statusOf = async (): Promise<number> =>
  (await world.gateway.browser.fetch('shop.localhost').catch(() => ({ status: 0 }))).status;

const refusalOf = async (): Promise<string | undefined> => (await world.client('owner').publications())[0]?.error?.code;

test('who was not invited is refused with the line for the operator, and status says so until it changes', async () => {
  const owner = world.machine('owner');
  await world.writeFile({ publish: { shop: 'web' } });
  const refused = await owner.run(['apply', '--yes', '--wait']);
  assert.equal(refused.exitCode, 4, refused.stderr);
  assert.equal(refused.json['code'], 'PUBLISHER_NOT_INVITED');
  assert.ok(JSON.stringify(refused.json['next']).includes(`moat gateway allow ${deployment}`));
  const names = await owner.ok(['names']);
  assert.match(names.stdout, /PUBLISHER_NOT_INVITED/);
  assert.equal(await statusOf(), 0, 'the name does not exist');
});

test('a wrong code changes nothing', async () => {
  const owner = world.machine('owner');
  const refused = await owner.run(['apply', '--yes', '--code-file', '-'], `moatcode-${'A'.repeat(43)}\n`);
  assert.equal(refused.exitCode, 4, refused.stderr);
  assert.equal(refused.json['code'], 'CODE_INVALID');
  assert.equal(await refusalOf(), 'PUBLISHER_NOT_INVITED');
});

test('with a code the name is live, and the code is nowhere', async () => {
  const owner = world.machine('owner');
  const { machine, daemon } = world.gateway;
  const invite = await machine.ok(['gateway', 'invite', '--names', '1', '--expires', '1h']);
  const code = String(invite.json['code']);
  await owner.write('code.txt', `${code}\n`);
  await owner.ok(['apply', '--yes', '--wait', '--code-file', owner.path('code.txt')]);
  await eventually('shop is public', async () => (await statusOf()) === 200);
  const detail = await world.client('owner').deployment(deployment);
  const kept = [
    JSON.stringify(detail),
    daemon.output,
    world.agent('owner').output,
    await readFile(machine.path('state', 'gateway', 'gateway.db'), 'latin1'),
    await readFile(machine.path('state', 'gateway', 'gateway.db-wal'), 'latin1'),
  ].join('\n');
  assert.ok(kept.includes(deployment));
  assert.ok(!kept.includes(code.slice('moatcode-'.length)));
  const listed = await machine.ok(['gateway', 'names']);
  assert.equal((listed.json['invites'] as unknown[]).length, 0, 'it is used up');
  const second = await owner.run(['publish', 'web', '--name', 'second', '--gateway', 'localhost', '--yes']);
  assert.equal(second.json['code'], 'NAME_LIMIT', second.stderr);
  await owner.ok(['apply', '--yes', '--wait']);
});

test('what is forgotten is gone at once, its name stays held, and the next bundle brings it back', async () => {
  const { machine } = world.gateway;
  const unsure = await machine.run(['gateway', 'forget', deployment]);
  assert.equal(unsure.json['code'], 'CONFIRMATION_NEEDED', unsure.stderr);
  assert.equal(await statusOf(), 200);
  const forgotten = await machine.ok(['gateway', 'forget', deployment, '--yes']);
  assert.equal(typeof forgotten.json['version'], 'number');
  assert.equal(forgotten.json['held'], 1);
  const { names, publishers } = (await machine.ok(['gateway', 'names'])).json;
  assert.deepEqual(
    (names as { deployment: string }[]).map((name) => name.deployment),
    [deployment],
  );
  assert.equal((publishers as unknown[]).length, 1, 'it may still publish');
  await eventually('shop is pinned anew', async () => (await statusOf()) === 200, 40_000);
  const unknown = await machine.ok(['gateway', 'forget', 'a'.repeat(26), '--yes']);
  assert.equal(unknown.json['version'], null);
  assert.equal((await machine.run(['gateway', 'forget', 'shop', '--yes'])).json['code'], 'USAGE');
});

test('a suspended name answers 451, its publisher hears why, a crash changes nothing; the log has every step', async () => {
  const { machine } = world.gateway;
  const running = await world.gateway.browser.open('shop.localhost', { path: '/tick' });
  const cut = new Promise<void>((resolve) => {
    running.response.on('error', () => resolve()).on('close', () => resolve());
    running.response.resume();
  });
  const begun = Date.now();
  await machine.ok(['gateway', 'suspend', 'shop', '--note', 'reported as phishing']);
  await cut;
  assert.equal(await statusOf(), 451);
  assert.ok(Date.now() - begun < within(5_000));
  await eventually('the owner is told', async () => (await refusalOf()) === 'NAME_SUSPENDED');
  assert.match((await world.machine('owner').ok(['names'])).stdout, /reported as phishing/);
  await world.gateway.daemon.kill('SIGKILL');
  await world.restartGateway();
  await eventually('still suspended', async () => (await statusOf()) === 451);
  assert.match((await machine.ok(['gateway', 'names'])).stdout, /reported as phishing/);
  await machine.ok(['gateway', 'suspend', deployment, '--gone']);
  await machine.ok(['gateway', 'allow', 'shop']);
  assert.equal(await statusOf(), 410);
  await machine.ok(['gateway', 'allow', deployment, '--names', '1']);
  await eventually('shop is back', async () => (await statusOf()) === 200, 40_000);
  const { lines } = (await machine.ok(['audit', '--since', '1h'])).json as { lines: { action: string }[] };
  const actions = lines.map(({ action }) => action);
  for (const action of [
    'invite.made',
    'invite.redeemed',
    'name.claimed',
    'publisher.forgotten',
    'name.suspended',
    'publisher.suspended',
    'name.resumed',
    'publisher.resumed',
    'publisher.allowed',
  ]) {
    assert.ok(actions.includes(action), `${action} in ${actions.join(' ')}`);
  }
  assert.equal(actions.filter((action) => action === 'gateway.started').length, 2);
  assert.deepEqual((await machine.ok(['audit', '--verify'])).json['problems'], []);
});

test('a denial ends names, links and streams at once, survives a crash, and can be taken back', async () => {
  const { machine } = world.gateway;
  const running = await world.gateway.browser.open('shop.localhost', { path: '/tick' });
  const cut = new Promise<void>((resolve) => {
    running.response.on('error', () => resolve()).on('close', () => resolve());
    running.response.resume();
  });
  await machine.ok(['gateway', 'deny', deployment]);
  await cut;
  assert.equal(await statusOf(), 404);
  await eventually('the link is gone', async () => (await machine.ok(['gateway', 'status'])).json['links'] === 0);
  await eventually('the owner is told', async () => (await refusalOf()) === 'PUBLISHER_REFUSED');
  await world.gateway.daemon.kill('SIGKILL');
  await world.restartGateway();
  await eventually('still denied', async () => (await statusOf()) === 404);
  await machine.ok(['gateway', 'allow', deployment, '--names', '3']);
  await eventually('shop is back', async () => (await statusOf()) === 200, 40_000);
  await machine.ok(['gateway', 'stop']);
  await eventually('it stopped', async () => !world.gateway.daemon.running);
  assert.equal(world.gateway.daemon.child.exitCode, 0);
});
