/** Two owners who apply while neither sees the other make two histories; one command makes them one again. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { stringify } from 'yaml';
import { eventually, type Machine } from './machine.ts';
import { World } from './world.ts';

const world = new World();
let ana: Machine;
let ben: Machine;

before(async () => {
  ana = await world.addMachine('ana');
  ben = await world.addMachine('ben');
  for (const machine of [ana, ben]) await machine.ok(['key', 'new']);
  await write(ana, 5432);
  await ana.ok(['apply', '--yes']);
  await ben.ok(['join', '-'], String((await ana.ok(['invite', 'ben'])).json['token']));
});

after(async () => {
  await world[Symbol.asyncDispose]();
});

let keys: Record<string, unknown> | undefined;
let anaPeer: unknown;

/** moat.yaml on one machine, with the service at `port`. */
async function write(machine: Machine, port: number, threshold = 1): Promise<void> {
  anaPeer ??= (await ana.ok(['node', 'status'])).json['peerId'];
  keys ??= {
    ana: (await ana.ok(['key', 'show'])).json['key'],
    ben: (await ben.ok(['key', 'show'])).json['key'],
  };
  await machine.write(
    'moat.yaml',
    stringify({
      version: 1,
      name: 'shop',
      network: { plane: 'rootless' },
      owners: { threshold, keys },
      members: { ana: { node: anaPeer, keeper: true }, ben: {} },
      services: { db: { on: ['ben'], port } },
      access: [{ from: ['ana'], to: ['db'] }],
    }),
  );
}

interface Seen {
  readonly version: number;
  readonly state: string;
  readonly alarms: readonly { readonly code: string }[];
}

async function seenAt(machine: Machine): Promise<Seen> {
  const { deployments } = (await machine.ok(['status', '-n', 'shop'])).json as { deployments: Seen[] };
  const [shop] = deployments;
  assert.ok(shop);
  return shop;
}

const portAt = async (machine: Machine): Promise<string> =>
  /port: (\d+)/.exec(String((await machine.ok(['fmt', '--from-contract', '-n', 'shop'])).json['text']))?.[1] ?? '';

test('a fork stops every change and says how to end it; apply --end-fork does', async () => {
  await world.agent('ana').kill('SIGTERM');
  await write(ben, 5433);
  const alone = await ben.run(['apply', '--yes']);
  assert.deepEqual([alone.json['code'], alone.exitCode], ['NO_KEEPER_REACHABLE', 1]);
  assert.match(String(alone.json['next']), /--offline/);
  await ben.ok(['apply', '--yes', '--offline']);
  await world.agent('ben').kill('SIGTERM');

  await world.restart('ana');
  await write(ana, 5434);
  await ana.ok(['apply', '--yes']);
  await world.restart('ben');
  for (const machine of [ana, ben]) {
    const seen = await eventually(`${machine.name} sees both`, async () => {
      const { state, alarms } = await seenAt(machine);
      return state === 'forked' && alarms;
    });
    assert.equal(seen[0]?.code, 'HEAD_FORKED');
  }
  assert.deepEqual([await portAt(ana), await portAt(ben)], ['5434', '5433'], 'each keeps what it runs');

  const refused = await ana.run(['apply', '--yes']);
  assert.deepEqual([refused.json['code'], refused.exitCode], ['HEAD_FORKED', 6]);
  assert.match(String(refused.json['next']), /moat apply --end-fork/);
  assert.match(String(refused.json['cause']), /signed by ana; elsewhere version \d+, signed by ben/);

  const highest = Math.max((await seenAt(ana)).version, (await seenAt(ben)).version);
  const { version } = (await ana.ok(['apply', '--yes', '--end-fork'])).json as { version: number };
  assert.ok(version > highest);
  for (const machine of [ana, ben]) {
    await eventually(`${machine.name} is on the one history`, async () => {
      const seen = await seenAt(machine);
      return seen.state === 'active' && seen.version === version && seen.alarms.length === 0;
    });
    assert.equal(await portAt(machine), '5434');
  }
});

test('where two have to sign, both sides sign the end too, by a file', async () => {
  await write(ana, 5434, 2);
  const proposed = await ana.ok(['apply', '--yes']);
  const agreed = await ben.ok(['sign', String(proposed.json['id']).replace(/^-+/, ''), '--yes']);
  assert.equal(agreed.json['inForce'], true);
  const base = (await seenAt(ben)).version;
  await eventually('ana has it', async () => (await seenAt(ana)).version === base);

  // Two versions on top of one, each signed by both.
  for (const [file, port] of [
    ['a.json', 5435],
    ['b.json', 5436],
  ] as const) {
    await write(ana, port, 2);
    await ana.ok(['apply', '--yes', '--out', file]);
    await ben.write(file, readFileSync(ana.path(file), 'utf8'));
  }
  for (const name of ['ana', 'ben']) await world.agent(name).kill('SIGTERM');
  for (const file of ['a.json', 'b.json']) await ben.ok(['sign', file, '--yes']);
  await world.restart('ana');
  const one = await ana.ok(['sign', '-', '--yes'], readFileSync(ben.path('a.json'), 'utf8'));
  assert.equal(one.json['inForce'], true);
  await world.agent('ana').kill('SIGTERM');
  await world.restart('ben');
  const other = await ben.ok(['sign', 'b.json', '--yes', '--offline']);
  assert.equal(other.json['inForce'], true);
  await world.restart('ana');
  for (const machine of [ana, ben]) {
    await eventually(`${machine.name} sees both`, async () => (await seenAt(machine)).state === 'forked');
  }

  await write(ana, 5437, 2);
  const ending = await ana.ok(['apply', '--yes', '--end-fork', '--out', 'end.json']);
  assert.deepEqual([ending.json['weight'], ending.json['threshold']], [1, 2]);
  await ben.write('end.json', readFileSync(ana.path('end.json'), 'utf8'));
  await ben.ok(['sign', 'end.json', '--yes']);
  const ended = await ana.ok(['sign', '-', '--yes'], readFileSync(ben.path('end.json'), 'utf8'));
  assert.equal(ended.json['inForce'], true, ended.stderr);
  for (const machine of [ana, ben]) {
    await eventually(`${machine.name} is on the one history`, async () => (await seenAt(machine)).state === 'active');
    assert.equal(await portAt(machine), '5437');
  }
});
