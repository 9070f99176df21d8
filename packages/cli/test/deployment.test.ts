import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseToken } from '@moat/contract';
import { MoatError } from '@moat/core';
import { createOwnerKey, sealOwnerKey } from '@moat/identity';
import { FakeAgent } from './support/fake-agent.ts';
import { Terminal } from './support/terminal.ts';

const PEER = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp';

interface Shop extends AsyncDisposable {
  readonly terminal: Terminal;
  readonly agent: FakeAgent;
}

/** A machine with an agent, an owner key and a file for `shop`. */
async function openShop(options: { readonly publish?: boolean } = {}): Promise<Shop> {
  const terminal = new Terminal();
  const agent = await FakeAgent.start(terminal.home);
  const gateway = `{ domain: apps.example.com, peers: [/dns4/apps.example.com/tcp/4410/p2p/${PEER}] }`;
  writeFileSync(
    terminal.path('moat.yaml'),
    `version: 1
name: shop
members:
  web-1: { node: ${agent.key.peerId}, tags: [web], keeper: true }
  db-1: {}
services:
  web: { on: [tag:web], port: 80, target: 127.0.0.1:3000, protocol: http }
  db: { on: [db-1], port: 5432 }
access:
  - { from: [tag:web], to: [db] }
${options.publish === true ? `publish:\n  shop: { gateway: ${gateway}, service: web }\n` : ''}`,
  );
  await terminal.run(['key', 'new']);
  return {
    terminal,
    agent,
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]();
      terminal[Symbol.dispose]();
    },
  };
}

test('plan shows everything of a new deployment and changes nothing', async () => {
  await using shop = await openShop();
  const { terminal, agent } = shop;
  const plan = await terminal.run(['plan']);
  assert.equal(plan.exitCode, 0, plan.stderr);
  assert.match(plan.stdout, /^shop {2}a new deployment\n/);
  assert.match(plan.stdout, /\n {2}\+ member db-1 /);
  assert.match(plan.stdout, /! only one keeper/);
  assert.equal(agent.held.size, 0);
});

test('apply creates, then changes nothing, then only what differs', async () => {
  await using shop = await openShop();
  const { terminal, agent } = shop;
  const first = await terminal.json(['apply', '--yes', '--wait']);
  assert.equal(first.exitCode, 0, first.stderr);
  assert.equal(first.kind, 'applied');
  assert.deepEqual([first.data['version'], first.data['changed']], [0, true]);
  const second = await terminal.json(['apply', '--yes']);
  assert.deepEqual([second.data['version'], second.data['changed']], [0, false]);
  assert.match((await terminal.run(['plan'])).stdout, /nothing to change/);

  const text = readFileSync(terminal.path('moat.yaml'), 'utf8');
  writeFileSync(terminal.path('moat.yaml'), text.replace('port: 5432', 'port: 5433, target: 127.0.0.1:5432'));
  const third = await terminal.json(['apply', '--yes']);
  assert.equal(third.data['version'], 1);
  const changes = third.data['changes'] as { kind: string; path: string }[];
  assert.deepEqual(
    changes.map(({ kind, path }) => `${kind} ${path}`),
    ['change services.db'],
  );
  assert.equal(agent.held.size, 1);
});

test('apply asks for what it builds on once, and for nothing that others would have to be asked for', async () => {
  await using shop = await openShop();
  const { terminal, agent } = shop;
  await terminal.run(['apply', '--yes']);
  const { deployment } = (await terminal.json(['apply', '--yes'])).data as { deployment: string };
  writeFileSync(
    terminal.path('moat.yaml'),
    readFileSync(terminal.path('moat.yaml'), 'utf8').replace('port: 5432', 'port: 5433'),
  );
  agent.requests.length = 0;
  assert.equal((await terminal.run(['apply', '--yes'])).exitCode, 0);
  assert.deepEqual(agent.requests, [
    'GET /v1/deployments',
    `GET /v1/deployments/${deployment}/held`,
    `POST /v1/deployments/${deployment}/versions`,
  ]);
});

test('apply refuses when somebody applied in between', async () => {
  await using shop = await openShop();
  const { terminal, agent } = shop;
  await terminal.run(['apply', '--yes']);
  const text = readFileSync(terminal.path('moat.yaml'), 'utf8');
  writeFileSync(terminal.path('moat.yaml'), text.replace('port: 5432', 'port: 5433'));
  agent.refuseNext = new MoatError('VERSION_OLD', 'version 0 is older than version 3');
  const refused = await terminal.json(['apply', '--yes']);
  assert.equal(refused.exitCode, 6);
  assert.equal(refused.error.code, 'APPLIED_IN_BETWEEN');
  assert.deepEqual(refused.error.next, ['moat plan', 'moat apply']);
});

test('only an owner applies, and one key is no quorum of two', async () => {
  await using shop = await openShop();
  const { terminal } = shop;
  await terminal.run(['apply', '--yes']);
  await terminal.run(['key', 'new', '--key', 'other.key']);
  const foreign = await terminal.json(['apply', '--yes', '--key', 'other.key']);
  assert.equal(foreign.exitCode, 4);
  assert.equal(foreign.error.code, 'OWNER_KEY_FOREIGN');

  const mine = String((await terminal.json(['key', 'show'])).data['key']);
  const theirs = String((await terminal.json(['key', 'show', '--key', 'other.key'])).data['key']);
  mkdirSync(terminal.path('two'));
  const text = readFileSync(terminal.path('moat.yaml'), 'utf8').replace('name: shop', 'name: two');
  const owners = `owners: { threshold: 2, keys: { ana: "${mine}", ben: "${theirs}" } }\n`;
  writeFileSync(terminal.path('two.yaml'), text + owners);
  const alone = await terminal.json(['apply', '--yes', '--file', 'two.yaml']);
  assert.equal(alone.exitCode, 4);
  assert.equal(alone.error.code, 'QUORUM_MISSING');
});

test('a sealed key signs with its passphrase from a file; a wrong one is refused', async () => {
  await using shop = await openShop();
  const { terminal } = shop;
  const sealed = sealOwnerKey(createOwnerKey(), 'correct horse', { logN: 14 });
  writeFileSync(terminal.path('sealed.key'), sealed, { mode: 0o600 });
  writeFileSync(terminal.path('right'), 'correct horse\n');
  writeFileSync(terminal.path('wrong'), 'wrong horse\n');
  const apply = ['apply', '--yes', '--key', 'sealed.key'];
  assert.equal((await terminal.json(apply)).error.code, 'CONFIRMATION_NEEDED');
  assert.equal((await terminal.json([...apply, '--passphrase-file', 'wrong'])).error.code, 'PASSPHRASE_WRONG');
  assert.equal((await terminal.json([...apply, '--passphrase-file', 'right'])).exitCode, 0);
});

test('invite opens one place; the token is whole, and only where it belongs', async () => {
  await using shop = await openShop();
  const { terminal, agent } = shop;
  await terminal.run(['apply', '--yes']);
  const invited = await terminal.json(['invite', 'db-1', '--expires', '15m']);
  assert.equal(invited.exitCode, 0, invited.stderr);
  const token = parseToken(String(invited.data['token']));
  assert.equal(token.member, 'db-1');
  assert.equal(token.version, 1);
  const [held] = agent.held.values();
  assert.ok(held?.contract.members.find(({ name }) => name === 'db-1')?.invite);
  assert.ok(!invited.stderr.includes(String(invited.data['token'])));

  const toFile = await terminal.run(['invite', 'db-1', '--out', 'token.txt']);
  assert.equal(toFile.exitCode, 0, toFile.stderr);
  assert.equal(statSync(terminal.path('token.txt')).mode & 0o777, 0o600);
  assert.ok(!toFile.stdout.includes('moat1.'));

  const locator = await terminal.json(['invite', '--locator']);
  assert.equal(parseToken(String(locator.data['token'])).seed, undefined);
  assert.equal((await terminal.json(['invite', 'web-1'])).error.code, 'MEMBER_TAKEN');
  assert.equal((await terminal.json(['invite', 'web-1', '--replace'])).error.code, 'KEEPER_MISSING');
  assert.equal((await terminal.json(['invite', 'nobody'])).exitCode, 5);
  assert.equal((await terminal.json(['invite', 'db-1', '--expires', 'soon'])).exitCode, 2);
});

test('publish and unpublish make the same contract as the file', async () => {
  await using byFile = await openShop({ publish: true });
  await byFile.terminal.run(['apply', '--yes']);
  const { terminal, agent } = byFile;
  const before = [...agent.held.values()][0]?.contract.publish;
  const removed = await terminal.json(['unpublish', 'shop']);
  assert.equal(removed.exitCode, 0, removed.stderr);
  assert.deepEqual([...agent.held.values()][0]?.contract.publish, []);
  assert.equal((await terminal.json(['unpublish', 'shop'])).exitCode, 5);

  await terminal.run(['apply', '--yes']);
  const taken = await terminal.json(['publish', 'web', '--name', 'shop']);
  assert.equal(taken.error.code, 'NAME_TAKEN');
  const second = await terminal.json(['publish', 'web', '--name', 'store']);
  assert.equal(second.exitCode, 0, second.stderr);
  const lines = [...agent.held.values()][0]?.contract.publish;
  assert.deepEqual(lines?.map(({ name }) => name).toSorted(), ['shop', 'store']);
  const [written] = before ?? [];
  const verb = lines?.find(({ name }) => name === 'store');
  assert.deepEqual({ ...verb, name: 'shop', salt: '' }, { ...written, salt: '' });

  assert.equal((await terminal.json(['publish', 'db', '--name', 'db'])).error.code, 'SERVICE_NOT_HTTP');
  assert.equal((await terminal.json(['publish', 'nothing'])).exitCode, 5);
  const host = await terminal.json(['publish', 'web', '--host', 'Www.Shop.Example.']);
  assert.equal(host.exitCode, 0, host.stderr);
  const names = [...agent.held.values()][0]?.contract.publish.map(({ name }) => name);
  assert.deepEqual(names?.toSorted(), ['shop', 'store', 'www.shop.example']);
});

test('a name is given up by its publish line', async () => {
  await using shop = await openShop({ publish: true });
  const { terminal, agent } = shop;
  await terminal.run(['apply', '--yes']);
  const to = 'abcdefghijklmnopqrstuvwx23';
  const lineOf = (): string | undefined => [...agent.held.values()][0]?.contract.publish[0]?.transfer;
  const given = await terminal.json(['names', 'transfer', 'shop', '--to', to]);
  assert.equal(given.exitCode, 0, given.stderr);
  assert.equal(lineOf(), to);
  assert.equal((await terminal.json(['names', 'release', 'shop'])).exitCode, 0);
  assert.equal(lineOf(), 'nobody');
  assert.equal((await terminal.json(['names', 'release', 'nothing'])).error.code, 'NAME_UNKNOWN');
  assert.equal((await terminal.json(['names', 'transfer', 'shop', '--to', 'shop'])).error.code, 'USAGE');
});

test('a host of one’s own is whole, in ASCII, and one', async () => {
  await using shop = await openShop({ publish: true });
  const { terminal } = shop;
  await terminal.run(['apply', '--yes']);
  const rows = [
    ['shop', /written whole/],
    ['*.shop.example', /no wildcard/],
    ['bücher.example', /xn--bcher-kva\.example/],
    ['a_b.example', /written whole/],
    [`${'a.'.repeat(124)}ex`, /written whole/],
  ] as const;
  for (const [text, pattern] of rows) {
    const { error, exitCode, stderr } = await terminal.json(['publish', 'web', '--host', text]);
    assert.deepEqual([error.code, exitCode], ['USAGE', 2], text);
    assert.match(stderr, pattern);
  }
  const two = await terminal.json(['publish', 'web', '--name', 'a', '--host', 'www.shop.example']);
  assert.equal(two.error.code, 'USAGE');
});

test('publish asks which gateway where the network uses two', async () => {
  await using shop = await openShop({ publish: true });
  const { terminal } = shop;
  const text = readFileSync(terminal.path('moat.yaml'), 'utf8');
  const other = `{ domain: other.example.com, peers: [/dns4/other.example.com/tcp/4410/p2p/${PEER}] }`;
  writeFileSync(terminal.path('moat.yaml'), `${text}  store: { gateway: ${other}, service: web }\n`);
  const applied = await terminal.run(['apply', '--yes']);
  assert.equal(applied.exitCode, 0, applied.stderr);
  const { error } = await terminal.json(['publish', 'web', '--name', 'third']);
  assert.equal(error.code, 'GATEWAY_AMBIGUOUS');
  assert.deepEqual(error.next.toSorted(), ['--gateway apps.example.com', '--gateway other.example.com']);
});

test('a port is published at the gateway of the settings; without any it says the ways on', async () => {
  using terminal = new Terminal();
  await using _agent = await FakeAgent.start(terminal.home);
  const nowhere = await terminal.json(['publish', '3000']);
  assert.deepEqual([nowhere.error.code, nowhere.exitCode], ['NO_GATEWAY', 2]);
  assert.ok(nowhere.error.next.some((line) => line.includes('config.yaml')));
  mkdirSync(terminal.path('.config', 'moat'), { recursive: true });
  const settings = terminal.path('.config', 'moat', 'config.yaml');
  writeFileSync(settings, 'gateway: gateway.localhost\n');
  const asked = await terminal.json(['publish', '3000', '--yes']);
  assert.equal(asked.error.code, 'GATEWAY_UNRESOLVED');
  assert.match(asked.error.message, /gateway\.localhost/);
  writeFileSync(settings, 'gateway: apps.example.com\ngatway: x\n');
  const wrong = await terminal.json(['publish', '3000']);
  assert.deepEqual([wrong.error.code, wrong.exitCode], ['CONFIG_INVALID', 3]);
  assert.match(wrong.error.message, /config\.yaml:2:1: unknown key gatway/);
  assert.equal((await terminal.json(['publish', '70000'])).error.code, 'TARGET_INVALID');
});

test('a gateway that cannot be asked is named with its line, and may be tried again', async () => {
  await using shop = await openShop();
  const { terminal } = shop;
  const text = readFileSync(terminal.path('moat.yaml'), 'utf8');
  writeFileSync(terminal.path('moat.yaml'), `${text}publish:\n  shop: { gateway: gateway.localhost, service: web }\n`);
  const refused = await terminal.json(['apply', '--yes']);
  assert.equal(refused.exitCode, 1);
  assert.equal(refused.error.code, 'GATEWAY_UNRESOLVED');
  assert.match(refused.error.message, /moat\.yaml:12:.*gateway\.localhost cannot be resolved/);
});

test('an anchor that cannot be asked may be one without a gateway: it says what to write', async () => {
  await using shop = await openShop();
  const { terminal } = shop;
  const text = readFileSync(terminal.path('moat.yaml'), 'utf8').replace(/^anchors:.*\n/m, '');
  writeFileSync(terminal.path('moat.yaml'), `${text}anchors: [127.0.0.1]\n`);
  const warnings: string[] = [];
  const warned = (warning: Error): unknown => warnings.push(warning.message);
  process.on('warning', warned);
  const { error } = await terminal.json(['apply', '--yes']);
  process.off('warning', warned);
  assert.equal(error.code, 'ANCHOR_UNRESOLVED');
  assert.deepEqual(error.next, [
    'check the domain, and that its gateway runs',
    'an anchor without a gateway: its address, /ip4/…/tcp/4410/p2p/…, as moat node status there shows it',
  ]);
  assert.deepEqual(warnings, []);
});

test('what runs can be written out as a file that changes nothing', async () => {
  await using shop = await openShop({ publish: true });
  const { terminal } = shop;
  await terminal.run(['apply', '--yes']);
  const written = await terminal.run(['fmt', '--from-contract']);
  writeFileSync(terminal.path('moat.yaml'), written.stdout);
  const again = await terminal.json(['apply', '--yes']);
  assert.equal(again.data['changed'], false, again.stdout);
});
