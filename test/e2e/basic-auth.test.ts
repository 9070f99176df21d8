/** Users of a name: made by the command, boxed by the writer, opened by one gateway, asked for before anything goes in. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const PASSWORD = 'correct horse battery';
const world = new World();
let web: WebService;

before(async () => {
  web = await startWebService('shop');
  await world.startGateway();
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true } },
    services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
  });
  const owner = world.machine('owner');
  await owner.ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
  const line = await owner.ok(['password', 'ana', '--password-file', '-'], `${PASSWORD}\n`);
  await owner.write('users', `# who may come in\n${String(line.json['line'])}\n`);
  await publish();
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

/** Pins what the gateway says of itself now. */
async function publish(): Promise<void> {
  const said = await world.gateway.browser.fetch('localhost', { path: '/.well-known/moat' });
  const gateway = JSON.parse(said.text) as object;
  await world.apply({ extraPublish: { shop: { service: 'web', gateway, auth: { basic: { file: './users' } } } } });
}

const statusOf = async (password?: string): Promise<number> => {
  const authorization = `Basic ${Buffer.from(`ana:${password ?? ''}`).toString('base64')}`;
  const headers = password === undefined ? {} : { authorization };
  return (await world.gateway.browser.fetch('shop.localhost', { headers })).status;
};

test('nobody without the password, and nothing of it anywhere', async () => {
  assert.equal(await statusOf(), 401);
  assert.equal(await statusOf('wrong'), 401);
  assert.equal(await statusOf(PASSWORD), 200);
  assert.ok(!web.lastFields.some((field) => field.toLowerCase() === 'authorization'));
  const [first] = await world.client('owner').deployments();
  assert.ok(first);
  const { id } = first;
  const detail = JSON.stringify(await world.client('owner').deployment(id));
  const kept = [detail, world.gateway.daemon.output, world.agent('owner').output].join('\n');
  assert.ok(kept.includes(id));
  assert.ok(!kept.includes(PASSWORD) && !detail.includes('scrypt'));
});

test('applying again changes nothing, another password does', async () => {
  const owner = world.machine('owner');
  assert.equal((await owner.ok(['apply', '--yes'])).json['changed'], false);
  const line = await owner.ok(['password', 'ana', '--password-file', '-'], 'another\n');
  await owner.write('users', `${String(line.json['line'])}\n`);
  assert.equal((await owner.ok(['apply', '--yes', '--wait'])).json['changed'], true);
  await eventually('the old one is over', async () => (await statusOf(PASSWORD)) === 401);
  assert.equal(await statusOf('another'), 200);
});

test('a gateway that lost its key lets nobody in, the owner sees why, and applying mends it', async () => {
  const { machine } = world.gateway;
  await world.gateway.daemon.kill('SIGTERM');
  await rm(machine.path('state', 'gateway', 'box.key'));
  await world.restartGateway();
  await eventually('503', async () => (await statusOf('another')) === 503);
  await eventually('the owner is told', async () => {
    const [publication] = await world.client('owner').publications();
    return publication?.error?.code === 'SECRET_UNREADABLE';
  });
  await publish();
  await eventually('200', async () => (await statusOf('another')) === 200);
});
