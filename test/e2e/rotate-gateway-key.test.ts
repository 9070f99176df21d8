/** A gateway replaces its key: publishers follow what the pinned key signed, and nothing else. */
import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

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
  owner.env['MOAT_CA_FILE'] = String((await world.gateway.machine.ok(['gateway', 'status'])).json['caFile']);
  await owner.ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
  await publish('shop');
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

function publish(name: string): Promise<unknown> {
  const at = ['--gateway', `localhost:${world.gateway.port}`];
  return world.machine('owner').ok(['publish', 'web', '--name', name, ...at, '--yes']);
}

async function pinned(): Promise<string[]> {
  const [first] = await world.client('owner').deployments();
  assert.ok(first);
  const { contract } = await world.client('owner').deployment(first.id);
  const lines = contract['publish'] as { gateway: { peers: string[] } }[];
  return [...new Set(lines.flatMap(({ gateway }) => gateway.peers.map((peer) => peer.split('/').at(-1) ?? '')))].sort();
}

const works = async (name: string): Promise<boolean> =>
  (await world.gateway.browser.fetch(`${name}.localhost`)).status === 200;

test('both keys, then the next alone, without a question and without a gap for who followed', async () => {
  const { machine } = world.gateway;
  const [before = ''] = await pinned();
  const next = String((await machine.ok(['gateway', 'rotate-key'])).json['next']);
  await eventually('the old key answers', () => works('shop'));
  await publish('blog');
  assert.deepEqual(await pinned(), [before, next].sort());
  await machine.ok(['gateway', 'rotate-key', '--finish']);
  await eventually('the next key answers', async () => {
    const status = await machine.run(['gateway', 'status']);
    return status.exitCode === 0 && status.json['peerId'] === next;
  });
  await eventually('both names work', async () => (await works('shop')) && works('blog'), 40_000);
  await publish('news');
  assert.deepEqual(await pinned(), [next]);
  await eventually('the third works', () => works('news'));
});

test('another identity that the pinned key did not sign is not followed, and is said', async () => {
  const { machine, daemon } = world.gateway;
  const kept = await pinned();
  await daemon.kill('SIGTERM');
  const directory = machine.path('state', 'gateway');
  await rm(`${directory}/gateway.key`);
  const lists = JSON.parse(await readFile(`${directory}/gateway-peers.json`, 'utf8')) as { list: object }[];
  await writeFile(`${directory}/gateway-peers.json`, JSON.stringify(lists.slice(1)), { mode: 0o600 });
  await world.restartGateway();
  const owner = world.machine('owner');
  const at = ['--gateway', `localhost:${world.gateway.port}`];
  const trying = owner.spawn(['publish', 'web', '--name', 'more', ...at, '--yes']);
  await eventually('it is said', async () => /another identity than the pinned one/.test(trying.output));
  await eventually('the version is there', async () => JSON.stringify(await owner.run(['names'])).includes('more'));
  await trying.kill();
  assert.deepEqual(await pinned(), kept);
  await eventually(
    'the owner is told what to do',
    async () => {
      const names = (await owner.ok(['names'])).json['names'] as { error: { message: string } | null }[];
      return names.some(({ error }) => error?.message.includes('moat apply') === true);
    },
    30_000,
  );
});
