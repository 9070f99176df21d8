import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseToken } from '@moat/contract';
import { FakeAgent } from './support/fake-agent.ts';
import { Terminal, type Ran } from './support/terminal.ts';

interface Shop extends AsyncDisposable {
  readonly terminal: Terminal;
  readonly agent: FakeAgent;
  /** Writes moat.yaml anew. */
  write(changes: { readonly owners?: string; readonly port?: number }): void;
}

/** A machine with an agent, the owner keys `ana.key`, `ben.key` and `cy.key`, and a file for `shop`. */
async function openShop(): Promise<Shop> {
  const terminal = new Terminal();
  const agent = await FakeAgent.start(terminal.home);
  const write: Shop['write'] = ({ owners = '', port = 5432 }) =>
    writeFileSync(
      terminal.path('moat.yaml'),
      `version: 1
name: shop
${owners}
members:
  web-1: { node: ${agent.key.peerId}, keeper: true }
  db-1: {}
  db-2: {}
services: { db: { on: [db-1], port: ${port} } }
access: [{ from: [web-1], to: [db] }]
`,
    );
  write({});
  for (const name of ['ana', 'ben', 'cy']) await terminal.run(['key', 'new', '--key', `${name}.key`]);
  return {
    terminal,
    agent,
    write,
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]();
      terminal[Symbol.dispose]();
    },
  };
}

async function ok(terminal: Terminal, args: readonly string[], stdin?: string): Promise<Ran> {
  const ran = await terminal.json(args, stdin === undefined ? {} : { stdin });
  assert.equal(ran.exitCode, 0, `${args.join(' ')}: ${ran.stderr}`);
  return ran;
}

/** `owners:` of moat.yaml for the three. */
async function ownersLine(terminal: Terminal, threshold: number): Promise<string> {
  const keys = [];
  for (const name of ['ana', 'ben', 'cy']) {
    keys.push(`${name}: "${String((await ok(terminal, ['key', 'show', '--key', `${name}.key`])).data['key'])}"`);
  }
  return `owners: { threshold: ${threshold}, keys: { ${keys.join(', ')} } }`;
}

/** `shop` in force, with ana, ben and cy, of whom two have to sign. */
async function openTwoOfThree(): Promise<Shop> {
  await using stack = new AsyncDisposableStack();
  const shop = stack.use(await openShop());
  const { terminal } = shop;
  shop.write({ owners: await ownersLine(terminal, 1) });
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  shop.write({ owners: await ownersLine(terminal, 2) });
  const proposed = await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  assert.equal(proposed.kind, 'proposed', 'the new quorum has to agree too');
  const signed = await ok(terminal, ['sign', typed(proposed.data['id']), '--yes', '--key', 'ben.key']);
  assert.equal(signed.data['inForce'], true);
  stack.move();
  return shop;
}

/** An id as it can be typed. */
const typed = (id: unknown): string => String(id).replace(/^-+/, '');
const versionOf = ({ agent }: Shop): number => [...agent.held.values()][0]?.contract.version ?? -1;

test('a new deployment begins with one signature', async () => {
  await using shop = await openShop();
  shop.write({ owners: await ownersLine(shop.terminal, 2) });
  const refused = await shop.terminal.json(['apply', '--yes', '--key', 'ana.key']);
  assert.deepEqual([refused.error.code, refused.exitCode], ['QUORUM_MISSING', 4]);
  assert.match(refused.error.next.join('\n'), /threshold: 1/);
});

test('one of two signatures changes nothing; the second puts it in force', async () => {
  await using shop = await openTwoOfThree();
  const { terminal } = shop;
  assert.equal(versionOf(shop), 2, 'the change of owners is sealed at once');
  shop.write({ owners: await ownersLine(terminal, 2), port: 5433 });
  const proposed = await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  const { weight, threshold, missing } = proposed.data;
  const id = typed(proposed.data['id']);
  assert.deepEqual([weight, threshold, (missing as string[]).length], [1, 2, 2]);
  assert.equal(versionOf(shop), 2);

  const list = await ok(terminal, ['proposals', '--key', 'ana.key']);
  const [listed] = list.data['proposals'] as { id: string; changes: { path: string }[] }[];
  assert.equal(typed(listed?.id), id);
  assert.deepEqual(
    listed?.changes.map(({ path }) => path),
    ['services.db'],
  );
  const text = await terminal.run(['proposals']);
  assert.match(text.stdout, /signed 1 of 2: ana; missing (ben, cy|cy, ben)/);
  assert.match(text.stdout, /~ service db: port 5432 → 5433/);
  assert.match(text.stdout, /Next {2}moat sign \S+ {3}on the machine of (ben or cy|cy or ben)/);

  const again = await ok(terminal, ['sign', id.slice(0, 8), '--yes', '--key', 'ana.key']);
  assert.equal(again.data['inForce'], false, 'one owner counts once');
  const asked = await terminal.json(['sign', id, '--key', 'cy.key']);
  assert.deepEqual([asked.error.code, asked.exitCode], ['CONFIRMATION_NEEDED', 2]);
  const signed = await ok(terminal, ['sign', id, '--yes', '--key', 'cy.key']);
  assert.equal(signed.data['inForce'], true);
  assert.equal(versionOf(shop), 3);
  assert.equal((await terminal.json(['sign', id, '--yes', '--key', 'ben.key'])).error.code, 'PROPOSAL_UNKNOWN');
});

test('who is no owner yet is led to a file: a keeper would not let that key in', async () => {
  await using shop = await openShop();
  const { terminal } = shop;
  shop.write({ owners: (await ownersLine(terminal, 1)).replace(/, cy: .* } }/, ' } }') });
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  shop.write({ owners: await ownersLine(terminal, 3) });
  const without = await terminal.run(['apply', '--yes', '--key', 'ana.key']);
  assert.match(
    without.stdout,
    /moat sign \S+ {3}on the machine of ben\n +moat apply --out change\.json {3}.*for cy to sign/,
  );
  const { stdout } = await terminal.run(['apply', '--yes', '--key', 'ana.key', '--out', 'change.json']);
  assert.match(stdout, /on the machine of ben\n +moat sign change\.json/);
  assert.doesNotMatch(stdout, /--out/);
});

test('a port is published at once or not at all: what others have to sign is refused before anything is sent', async () => {
  await using shop = await openTwoOfThree();
  const { terminal, agent } = shop;
  const gateway = `{ domain: gw.example.com, peers: ["/dns4/gw.example.com/tcp/4410/p2p/${agent.key.peerId}"] }`;
  const text = readFileSync(terminal.path('moat.yaml'), 'utf8').replace(
    'services: { ',
    'services: { web: { on: [web-1], port: 80, target: 127.0.0.1:3000, protocol: http }, ',
  );
  writeFileSync(terminal.path('moat.yaml'), `${text}publish: { shop: { gateway: ${gateway}, service: web } }\n`);
  const proposed = await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  await ok(terminal, ['sign', typed(proposed.data['id']), '--yes', '--key', 'ben.key']);
  agent.waiting.clear();
  const args = ['publish', '4000', '-n', 'shop', '--gateway', 'gw.example.com', '--bg', '--key', 'ana.key'];
  const refused = await terminal.json(args);
  assert.deepEqual([refused.error.code, refused.exitCode], ['QUORUM_MISSING', 4], refused.stderr);
  assert.match(refused.error.next.join('\n'), /moat apply/);
  assert.equal(agent.waiting.size, 0);
  assert.deepEqual(agent.exposed, []);
});

test('a proposal travels as a file, and shows what it changes without any network', async () => {
  await using shop = await openTwoOfThree();
  const { terminal } = shop;
  shop.write({ owners: await ownersLine(terminal, 2), port: 5433 });
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key', '--out', 'change.json']);
  const file = readFileSync(terminal.path('change.json'), 'utf8');

  using away = new Terminal();
  writeFileSync(away.path('change.json'), file);
  writeFileSync(away.path('ben.key'), readFileSync(terminal.path('ben.key')), { mode: 0o600 });
  const shown = await away.run(['sign', 'change.json', '--yes', '--key', 'ben.key']);
  assert.equal(shown.exitCode, 0, shown.stderr);
  assert.match(shown.stderr, /shop {2}version 2 → 3\n {2}~ service db: port 5432 → 5433/);
  assert.match(shown.stderr, /signed by ana/);
  const piped = await away.run(['sign', '-', '--yes', '--key', 'ben.key'], { stdin: file });
  assert.ok(JSON.parse(piped.stdout));

  assert.equal(versionOf(shop), 2);
  const done = await ok(
    terminal,
    ['sign', '-', '--yes', '--key', 'ana.key'],
    readFileSync(away.path('change.json'), 'utf8'),
  );
  assert.equal(done.data['inForce'], true);
  assert.equal(versionOf(shop), 3);
  const late = await terminal.json(['sign', '-', '--yes', '--key', 'cy.key'], { stdin: file });
  assert.equal(late.data['inForce'], true, 'what is in force needs no signature');
});

test('a token is printed at once and is for the version that the others sign', async () => {
  await using shop = await openTwoOfThree();
  const { terminal, agent } = shop;
  const invited = await terminal.run(['invite', 'db-1', '--key', 'ana.key']);
  assert.equal(invited.exitCode, 0, invited.stderr);
  assert.match(invited.stderr, /signed 1 of 2/);
  assert.match(invited.stderr, /the token works once they have signed/);
  const token = parseToken(invited.stdout.trim());
  const [id] = agent.waiting.keys();
  assert.deepEqual([token.version, token.head], [3, id]);
  assert.equal(versionOf(shop), 2);
  await ok(terminal, ['sign', typed(id), '--yes', '--key', 'cy.key']);
  const [held] = agent.held.values();
  assert.equal(held?.contract.version, token.version);
});

test('a file that is no proposal, or lies about the version before, is refused', async () => {
  await using shop = await openTwoOfThree();
  const { terminal } = shop;
  shop.write({ owners: await ownersLine(terminal, 2), port: 5433 });
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key', '--out', 'change.json']);
  const file = JSON.parse(readFileSync(terminal.path('change.json'), 'utf8')) as {
    proposal: { contract: { name: string } };
    before: { contract: { services: { port: number }[] } };
  };
  const [service] = file.before.contract.services;
  assert.ok(service);
  service.port = 1;
  for (const text of ['', 'x', 'null', '[]', '{}', JSON.stringify({ ...file, before: {} }), JSON.stringify(file)]) {
    writeFileSync(terminal.path('bad.json'), text);
    const refused = await terminal.json(['sign', 'bad.json', '--yes', '--key', 'ben.key']);
    assert.equal(refused.exitCode, text.includes('port') ? refused.exitCode : 3, text.slice(0, 80));
    assert.notEqual(refused.exitCode, 0);
    assert.ok(!['INTERNAL', ''].includes(refused.error.code), refused.stderr);
  }
  await terminal.run(['key', 'new', '--key', 'dan.key']);
  const foreign = await terminal.json(['sign', 'change.json', '--yes', '--key', 'dan.key']);
  assert.deepEqual([foreign.error.code, foreign.exitCode], ['OWNER_KEY_FOREIGN', 4]);
});

test('rollback is a new version with old services; members and owners stay', async () => {
  await using shop = await openShop();
  const { terminal, agent } = shop;
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  shop.write({ port: 5433 });
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  await ok(terminal, ['invite', 'db-1', '--key', 'ana.key']);
  const back = await ok(terminal, ['rollback', '--yes', '--key', 'ana.key']);
  assert.deepEqual([back.data['version'], back.data['to']], [3, 0]);
  const contract = [...agent.held.values()][0]?.contract;
  assert.equal(contract?.services[0]?.port, 5432);
  assert.ok(contract?.members.find(({ name }) => name === 'db-1')?.invite, 'its token works still');
  const same = await ok(terminal, ['rollback', '0', '--yes', '--key', 'ana.key']);
  assert.equal(same.data['changed'], false);
  assert.equal((await terminal.json(['rollback', '99', '--yes', '--key', 'ana.key'])).exitCode, 5);
  assert.equal((await terminal.json(['rollback', 'two'])).exitCode, 2);
});

test('destroy asks for the name; nothing follows it', async () => {
  await using shop = await openShop();
  const { terminal, agent } = shop;
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  const asked = await terminal.json(['destroy', '--key', 'ana.key']);
  assert.deepEqual([asked.error.code, asked.exitCode], ['CONFIRMATION_NEEDED', 2]);
  const ended = await ok(terminal, ['destroy', '--yes', '--key', 'ana.key']);
  assert.equal(ended.kind, 'destroyed');
  assert.equal([...agent.held.values()][0]?.contract.state, 'ended');
  const after = await terminal.json(['destroy', '--yes', '--key', 'ana.key']);
  assert.deepEqual([after.error.code, after.exitCode], ['DEPLOYMENT_ENDED', 4]);
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  const file = await ok(terminal, ['invite', 'db-1', '-n', 'shop', '--key', 'ana.key']);
  assert.equal(file.data['version'], 1, 'the name means the network that runs');
});

test('invite --all opens every vacant place by one version, each token in its file', async () => {
  await using shop = await openShop();
  const { terminal } = shop;
  await ok(terminal, ['apply', '--yes', '--key', 'ana.key']);
  const all = await ok(terminal, ['invite', '--all', '--out', 'tokens', '--key', 'ana.key']);
  assert.equal(versionOf(shop), 1);
  assert.deepEqual(readdirSync(terminal.path('tokens')).toSorted(), ['db-1.token', 'db-2.token']);
  const token = parseToken(readFileSync(terminal.path('tokens', 'db-2.token'), 'utf8').trim());
  assert.equal(token.member, 'db-2');
  assert.equal(statSync(terminal.path('tokens', 'db-2.token')).mode & 0o777, 0o600);
  assert.ok(!all.stdout.includes('moat1.'));

  const none = await terminal.json(['invite', '--all', '--key', 'ana.key']);
  assert.deepEqual([none.error.code, none.exitCode], ['MEMBER_TAKEN', 6]);
  const again = await ok(terminal, ['invite', '--all', '--replace', '--key', 'ana.key']);
  assert.equal((again.data['tokens'] as object[]).length, 2);
  assert.equal(
    (await terminal.json(['invite', '--all', '--replace', '--out', 'tokens', '--key', 'ana.key'])).exitCode,
    6,
  );
  assert.equal(versionOf(shop), 2, 'files that are there stop it before anything is signed');
  assert.equal(existsSync(terminal.path('tokens', 'db-1.token')), true);
});
