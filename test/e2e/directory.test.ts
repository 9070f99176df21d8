/** Who wishes to be found is found: gateways, nodes and people, by strangers who verify what they read. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { eventually } from './machine.ts';
import { World } from './world.ts';

const world = new World();

before(async () => {
  await world.startGateway('open', { directory: { listed: true, region: 'eu-west', terms: 'be kind' } });
  await world.grow({ name: 'shop', members: { owner: { keeper: true }, web: {} }, services: {} });
});

after(async () => {
  await world[Symbol.asyncDispose]();
});

interface Found {
  readonly entries: readonly Readonly<Record<string, unknown>>[];
}

async function explore(...args: readonly string[]): Promise<Found['entries']> {
  return ((await world.machine('web').ok(['explore', ...args])).json as unknown as Found).entries;
}

/** moat.yaml of the owner's machine, with these owners. */
async function writeOwners(keys: Readonly<Record<string, string>>): Promise<void> {
  const owner = world.machine('owner');
  await world.writeFile();
  const text = await readFile(owner.path('moat.yaml'), 'utf8');
  await owner.write('moat.yaml', `${text}owners: ${JSON.stringify({ threshold: 1, keys })}\n`);
}

test('a gateway that wishes to be found is, with what its operator says of it', async () => {
  await eventually('the gateway is listed', async () => (await explore('gateways')).length === 1);
  const [gateway] = await explore('gateways', '--region', 'eu-west');
  assert.equal(gateway?.['domain'], 'localhost');
  assert.deepEqual(gateway?.['roles'], ['anchor', 'gateway']);
  assert.equal(gateway?.['terms'], 'be kind');
  assert.deepEqual(await explore('gateways', '--region', 'us-east'), []);
  assert.deepEqual(await explore('people'), []);
});

test('a person announces a handle, and is an owner by it once the words were compared', async () => {
  const [owner, web] = [world.machine('owner'), world.machine('web')];
  await web.ok(['key', 'new', '--plain']);
  const { key, words } = (await web.ok(['key', 'show'])).json as { key: string; words: string };
  const refused = await web.run(['key', 'announce', 'Ben!']);
  assert.equal(refused.exitCode, 2, refused.stderr);
  await web.ok(['key', 'announce', 'ben', '--bot', '--contact', 'ben@example.com']);
  const [ben] = await explore('people', '--handle', 'ben');
  assert.equal(ben?.['key'], key);
  assert.equal(ben?.['words'], words);

  const { key: own } = (await owner.ok(['key', 'show'])).json as { key: string };
  await writeOwners({ ana: own, ben: '@ben', nobody: '@nobody' });
  const unknown = await owner.run(['plan', '--yes']);
  assert.equal(unknown.exitCode, 5, unknown.stderr);
  assert.equal(unknown.json['code'], 'OWNER_UNRESOLVED');
  await writeOwners({ ana: own, ben: '@ben' });
  const unconfirmed = await owner.run(['plan']);
  assert.equal(unconfirmed.json['code'], 'CONFIRMATION_NEEDED');
  assert.ok(unconfirmed.stderr.includes(words), 'the words are shown before anything is signed');
  await owner.ok(['apply', '--yes']);
  const contract = (await owner.ok(['plan', '--yes'])).json['contract'] as { owners: { keys: { key: string }[] } };
  assert.deepEqual(
    contract.owners.keys.map((each) => each.key),
    [own, key],
  );
});

test('a second one of the same handle leaves a doubt, and nothing is taken', async () => {
  const owner = world.machine('owner');
  await owner.ok(['key', 'new', '--plain', '--key', 'thief.key']);
  const twice = await owner.ok(['key', 'announce', 'ben', '--key', 'thief.key']);
  assert.equal(twice.json['others'], 1);
  const { key: own } = (await owner.ok(['key', 'show'])).json as { key: string };
  await writeOwners({ ana: own, newcomer: '@ben' });
  const doubtful = await owner.run(['plan', '--yes']);
  assert.equal(doubtful.json['code'], 'OWNER_UNRESOLVED');
  assert.match(doubtful.stderr + JSON.stringify(doubtful.json), /several are called @ben/);
  assert.equal((await explore('people', '--handle', 'ben')).length, 2);
});

test('a key is replaced and its handle stays; the anchor forgets nothing when it is killed', async () => {
  const web = world.machine('web');
  const { key: before } = (await web.ok(['key', 'show'])).json as { key: string };
  await web.ok(['key', 'rotate']);
  const { key: next } = (await web.ok(['key', 'show'])).json as { key: string };
  assert.notEqual(next, before);
  const keys = async (): Promise<unknown[]> => (await explore('people', '--handle', 'ben')).map((each) => each['key']);
  assert.ok((await keys()).includes(next));
  assert.ok(!(await keys()).includes(before));
  const carried = (await explore('people', '--handle', 'ben')).find((each) => each['key'] === next);
  assert.deepEqual([carried?.['bot'], carried?.['contact']], [true, 'ben@example.com']);
  await world.gateway.daemon.kill('SIGKILL');
  await world.restartGateway();
  await eventually('the directory is back', async () => (await keys()).includes(next));
});
