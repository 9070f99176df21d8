/** Owners on three machines, one of them no member: two of three decide, a key is rotated and recovered, a network ends. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';
import { stringify } from 'yaml';
import { eventually, type CommandResult, type Machine } from './machine.ts';
import { World } from './world.ts';

const world = new World();
/** A keeper, a member that is none, and a machine without a place. */
let ana: Machine;
let ben: Machine;
let cy: Machine;

before(async () => {
  ana = await world.addMachine('ana');
  ben = await world.addMachine('ben');
  cy = await world.addMachine('cy');
  for (const machine of [ana, ben, cy]) await machine.ok(['key', 'new']);
  await write({});
  await ana.ok(['apply', '--yes']);
  const token = String((await ana.ok(['invite', 'ben'])).json['token']);
  await ben.ok(['join', '-'], token);
});

after(async () => {
  await world[Symbol.asyncDispose]();
});

interface Wanted {
  /** Owners by the machine that holds the key; absent = ana alone. */
  readonly owners?: readonly Machine[];
  readonly threshold?: number;
  readonly port?: number;
}

/** moat.yaml on every machine. */
async function write({ owners, threshold = 1, port = 5432 }: Wanted): Promise<void> {
  const keys = await Promise.all((owners ?? []).map(async (owner) => [owner.name, await keyOf(owner)]));
  const text = stringify({
    version: 1,
    name: 'shop',
    network: { plane: 'rootless' },
    ...(owners === undefined ? {} : { owners: { threshold, keys: Object.fromEntries(keys) } }),
    members: { ana: { node: (await ana.ok(['node', 'status'])).json['peerId'], keeper: true }, ben: {} },
    services: { db: { on: ['ben'], port } },
    access: [{ from: ['ana'], to: ['db'] }],
  });
  await Promise.all([ana, ben, cy].map((machine) => machine.write('moat.yaml', text)));
}

async function keyOf(machine: Machine): Promise<string> {
  return String((await machine.ok(['key', 'show'])).json['key']);
}

async function versionAt(machine: Machine): Promise<number> {
  const status = await machine.ok(['status', '-n', 'shop']);
  const [shop] = status.json['deployments'] as { version: number }[];
  return shop?.version ?? -1;
}

/** An id as it can be typed. */
const typed = (id: unknown): string => String(id).replace(/^-+/, '');

async function agree(proposed: CommandResult, ...signers: readonly Machine[]): Promise<void> {
  for (const [i, signer] of signers.entries()) {
    const signed = await signer.ok(['sign', typed(proposed.json['id']), '--yes']);
    assert.equal(signed.json['inForce'], i === signers.length - 1, `${signer.name} signs`);
  }
}

suite('owners', () => {
  test('a machine without a place is an owner’s by its locator', async () => {
    const locator = String((await ana.ok(['invite', '--locator'])).json['token']);
    const stranger = await cy.run(['join', '-', '--owner'], locator);
    assert.deepEqual([stranger.json['code'], stranger.exitCode], ['OWNER_KEY_FOREIGN', 4]);
    await write({ owners: [ana, ben, cy] });
    await ana.ok(['apply', '--yes']);
    const joined = await cy.ok(['join', '-', '--owner'], locator);
    assert.equal(joined.json['member'], null);
  });

  test('two of three: one signature changes nothing, the second puts it in force', async () => {
    await write({ owners: [ana, ben, cy], threshold: 2 });
    await agree(await ana.ok(['apply', '--yes']), cy);
    const sealed = await versionAt(ana);
    await write({ owners: [ana, ben, cy], threshold: 2, port: 5433 });
    const proposed = await cy.ok(['apply', '--yes']);
    assert.deepEqual([proposed.json['weight'], proposed.json['threshold']], [1, 2]);
    assert.equal(await versionAt(ana), sealed);

    const list = await ben.ok(['proposals']);
    const [first] = list.json['proposals'] as { id: string; changes: { path: string }[] }[];
    assert.equal(first?.id, proposed.json['id']);
    assert.equal(first?.changes[0]?.path, 'services.db');
    await agree(proposed, ben);
    assert.equal(await versionAt(ben), sealed + 1, 'in force where it was signed');
    await eventually('and everywhere', async () => (await versionAt(ana)) === sealed + 1);
  });

  test('a proposal as a file, signed by a machine whose agent is down', async () => {
    await write({ owners: [ana, ben, cy], threshold: 2, port: 5434 });
    const before = await versionAt(ana);
    await ana.ok(['apply', '--yes', '--out', 'change.json']);
    await cy.write('change.json', readFileSync(ana.path('change.json'), 'utf8'));
    await world.agent('cy').kill('SIGTERM');
    const signed = await cy.ok(['sign', 'change.json', '--yes']);
    assert.equal(signed.json['inForce'], false);
    await world.restart('cy');
    const back = await ana.ok(['sign', '-', '--yes'], readFileSync(cy.path('change.json'), 'utf8'));
    assert.equal(back.json['inForce'], true);
    assert.equal(await versionAt(ana), before + 1);
  });

  test('rollback is proposed like any other version', async () => {
    const back = await ben.ok(['rollback', '--yes']);
    await agree(back, ana);
    const status = await ana.ok(['fmt', '--from-contract', '-n', 'shop']);
    assert.match(String(status.json['text']), /port: 5433/);
  });

  test('a rotated key decides nothing any more, though another owner had to agree', async () => {
    await cy.write('stolen.key', readFileSync(cy.path('state', 'owner.key'), 'utf8'));
    const old = await keyOf(cy);
    const begun = await cy.ok(['key', 'rotate']);
    assert.equal(begun.json['complete'], false);
    assert.equal(await keyOf(cy), old);
    const [waiting] = (await ana.ok(['proposals'])).json['proposals'] as { id: string }[];
    await ana.ok(['sign', typed(waiting?.id), '--yes']);
    const done = await cy.ok(['key', 'rotate']);
    assert.equal(done.json['complete'], true, done.stdout);
    assert.notEqual(await keyOf(cy), old);
    assert.equal(existsSync(cy.path('state', 'owner.key.new')), false);
    const thief = await cy.run(['proposals', '--key', 'stolen.key']);
    assert.deepEqual([thief.json['code'], thief.exitCode], ['OWNER_KEY_FOREIGN', 4]);
    await cy.ok(['proposals']);
  });

  test('dropping an owner needs the old quorum; then one alone ends the network', async () => {
    await write({ owners: [ana], threshold: 1 });
    const version = await versionAt(ana);
    const proposed = await ana.ok(['apply', '--yes']);
    await cy.ok(['sign', typed(proposed.json['id']), '--yes']);
    await eventually('it is in force, and sealed', async () => (await versionAt(ana)) === version + 2);
    const dropped = await cy.run(['destroy', '-n', 'shop', '--yes']);
    assert.deepEqual([dropped.json['code'], dropped.exitCode], ['OWNER_KEY_FOREIGN', 4]);
    await ana.ok(['destroy', '-n', 'shop', '--yes']);
    await eventually('every member has heard of the end', async () => {
      const status = await ben.ok(['status', '-n', 'shop']);
      const [shop] = status.json['deployments'] as { state: string }[];
      return shop?.state === 'ended';
    });
  });

  test('a recovery key replaces a lost one, also from a machine that is in no network', async () => {
    const made = await ana.ok(['init', 'attic', '--member', 'ana', '--recovery', '-f', 'attic.yaml']);
    const { words } = made.json['recovery'] as { words: string };
    await ana.ok(['apply', '--yes', '-f', 'attic.yaml']);
    const locator = await cy.write(
      'attic.txt',
      String((await ana.ok(['invite', '--locator', '-n', 'attic'])).json['token']),
    );
    const lost = await keyOf(ana);
    const recovered = await cy.ok(['key', 'recover', '--words', '-', '--locator', locator, '-n', 'attic'], words);
    assert.equal(recovered.json['complete'], true, recovered.stdout);
    assert.equal(recovered.json['key'], await keyOf(cy));
    await eventually('the lost key owns nothing', async () => {
      const refused = await ana.run(['destroy', '-n', 'attic', '--yes']);
      return refused.json['code'] === 'OWNER_KEY_FOREIGN';
    });
    assert.notEqual(lost, recovered.json['key']);
    await cy.ok(['destroy', '-n', 'attic', '--yes']);
  });
});
