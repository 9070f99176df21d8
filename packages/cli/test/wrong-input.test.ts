import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { MoatError } from '@moat/core';
import { errorBody } from '../src/output/render-error.ts';
import { FakeAgent } from './support/fake-agent.ts';
import { Terminal, interruption } from './support/terminal.ts';

const PEER = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp';

async function withShop(work: (terminal: Terminal, agent: FakeAgent) => Promise<void>): Promise<void> {
  using terminal = new Terminal();
  await using agent = await FakeAgent.start(terminal.home);
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
publish:
  shop: { gateway: ${gateway}, service: web }
`,
  );
  await terminal.run(['key', 'new']);
  const applied = await terminal.run(['apply', '--yes']);
  assert.equal(applied.exitCode, 0, applied.stderr);
  await work(terminal, agent);
}

test('a token that cannot be written is not made, and the one before it stays good', async () => {
  await withShop(async (terminal, agent) => {
    const first = await terminal.run(['invite', 'db-1', '--out', 'token.txt']);
    assert.equal(first.exitCode, 0, first.stderr);
    const [held] = agent.held.values();
    const invite = held?.contract.members.find(({ name }) => name === 'db-1')?.invite;
    const token = readFileSync(terminal.path('token.txt'), 'utf8');
    const again = await terminal.json(['invite', 'db-1', '--out', 'token.txt']);
    assert.deepEqual([again.error.code, again.exitCode], ['FILE_EXISTS', 6]);
    const [after] = agent.held.values();
    assert.deepEqual(after?.contract.members.find(({ name }) => name === 'db-1')?.invite, invite);
    assert.equal(readFileSync(terminal.path('token.txt'), 'utf8'), token);
    // What fails later leaves no empty file.
    assert.equal((await terminal.json(['invite', 'nobody', '--out', 'other.txt'])).exitCode, 5);
    assert.equal(existsSync(terminal.path('other.txt')), false);
    const replaced = await terminal.run(['invite', 'db-1', '--out', 'third.txt']);
    assert.match(replaced.stderr, /the token made before for db-1 works no longer/);
  });
});

test('apply looks at --wait before it signs', async () => {
  await withShop(async (terminal, agent) => {
    const text = readFileSync(terminal.path('moat.yaml'), 'utf8');
    writeFileSync(terminal.path('moat.yaml'), text.replace('port: 5432', 'port: 5433'));
    const refused = await terminal.json(['apply', '--yes', '--wait', 'soon']);
    assert.deepEqual([refused.error.code, refused.exitCode], ['DURATION_INVALID', 2]);
    assert.equal([...agent.held.values()][0]?.contract.version, 0);
  });
});

test('a token on the command line is refused without repeating it', async () => {
  using terminal = new Terminal();
  const { error, exitCode, stderr } = await terminal.json(['join', 'moat1.c2VjcmV0']);
  assert.deepEqual([error.code, exitCode], ['USAGE', 2]);
  assert.ok(!stderr.includes('c2VjcmV0'));
});

test(
  'files are read up to a bound, and why one cannot be read is said',
  { skip: !existsSync('/dev/zero') },
  async () => {
    using terminal = new Terminal();
    const endless = await terminal.json(['validate', '/dev/zero']);
    assert.deepEqual([endless.error.code, endless.exitCode], ['FILE_TOO_LARGE', 3]);
    const directory = await terminal.run(['validate', terminal.root]);
    assert.equal(directory.exitCode, 3);
    assert.match(directory.stderr, /Cause {2}it is a directory/);
  },
);

test('Ctrl-C ends the wait for stdin', async () => {
  using terminal = new Terminal();
  const ctrlC = interruption();
  const joining = terminal.run(['join', '-'], { signal: ctrlC.signal, openStdin: true });
  setImmediate(() => ctrlC.press());
  const { exitCode, stderr } = await joining;
  assert.deepEqual([exitCode, stderr], [130, '']);
});

test('a file that cannot be made leaves nothing behind', async () => {
  using terminal = new Terminal();
  writeFileSync(terminal.path('moat.yaml'), 'a file, not a directory');
  const before = readdirSync(terminal.root);
  const blocked = `${terminal.path('moat.yaml')}/inside.yaml`;
  assert.equal((await terminal.json(['init', 'shop', '--member', 'a', '-f', blocked])).exitCode, 3);
  assert.deepEqual(
    readdirSync(terminal.root).filter((name) => name !== 'home'),
    before,
  );
});

test('init says that a new key is plain', async () => {
  using terminal = new Terminal();
  const made = await terminal.run(['init', 'shop', '--member', 'a']);
  assert.equal(made.exitCode, 0, made.stderr);
  assert.match(made.stdout, /! the key is plain: whoever can read its file is the owner/);
});

test('what a verb cannot do is said before anything is changed', async () => {
  await withShop(async (terminal, agent) => {
    const wrong: readonly [string[], string, number, RegExp][] = [
      [['forward', 'web', '--bg'], 'GRANT_DENIED', 4, /web/],
      [['explain', 'web-1', 'nope'], 'SERVICE_UNKNOWN', 5, /nope/],
      [['ping', 'db', '-c', 'many'], 'USAGE', 2, /--count many/],
      [['publish', 'web', '--name', 'Shop!'], 'USAGE', 2, /"Shop!" cannot be a public name/],
      [['publish', 'web', '--gateway', 'https://x'], 'USAGE', 2, /is not a domain/],
      [['unpublish', 'shop', '--gateway', 'other.example'], 'NAME_UNKNOWN', 5, /no shop at other\.example/],
      [['node', 'expose', '99999'], 'TARGET_INVALID', 2, /99999/],
    ];
    for (const [args, code, exitCode, says] of wrong) {
      const ran = await terminal.json(args);
      assert.deepEqual([ran.error.code, ran.exitCode], [code, exitCode], args.join(' '));
      assert.match(ran.error.message, says);
    }
    assert.equal([...agent.held.values()][0]?.contract.version, 0);
    const asked = await terminal.json(['publish', 'web', '--name', 's2', '--gateway', 'gateway.localhost:1', '--yes']);
    assert.equal(asked.error.code, 'GATEWAY_UNRESOLVED');
    assert.match(asked.error.message, /^gateway gateway\.localhost cannot be resolved: gateway\.localhost:1 /);
  });
});

test('what the operating system refuses is no bug of Moat', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const second = createServer().listen(port, '127.0.0.1');
  const taken = await new Promise((resolve) => second.once('error', resolve));
  await new Promise((resolve) => server.close(resolve));
  const body = errorBody(taken);
  assert.equal(body.code, 'LISTEN_FAILED');
  assert.equal(body.message, `cannot listen on 127.0.0.1 port ${port}`);
  assert.match(body.cause ?? '', /another program uses it/);
  assert.ok(body.next.length > 0);
  const full = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', path: '/x' });
  assert.equal(errorBody(full).code, 'DISK_FULL');
  assert.match(errorBody(new MoatError('KEY_FILE_UNWRITABLE', 'no', { reason: 'ENOSPC' })).cause ?? '', /disk is full/);
});

test('a file that is no token, an address for a gateway, a place that offers nothing', async () => {
  await withShop(async (terminal) => {
    writeFileSync(terminal.path('large.bin'), 'x'.repeat(100_000));
    const large = await terminal.json(['join', 'large.bin']);
    assert.deepEqual([large.error.code, large.exitCode], ['TOKEN_INVALID', 3]);
    assert.match(large.error.next.join(), /moat invite MEMBER/);
    for (const address of ['127.0.0.1', '127.0.0.1:8443', '[::1]:8443']) {
      const refused = await terminal.json(['publish', 'web', '--gateway', address]);
      assert.deepEqual([refused.error.code, refused.exitCode], ['USAGE', 2]);
      assert.match(refused.error.message, /is an address; a gateway is named by its domain/);
    }
    const elsewhere = await terminal.run(['run', '--service', 'db', '--port', '5432', '--', 'true']);
    assert.match(elsewhere.stderr, /add web-1 to on: of services\.db in moat\.yaml[^]*SERVICE_UNKNOWN/);
  });
});

test('what nothing else explains has a way on', () => {
  for (const code of ['CODE_INVALID', 'DEPLOYMENT_ENDED', 'FILE_MISSING', 'FILE_UNREADABLE', 'VERSION_UNKNOWN']) {
    assert.notDeepEqual(errorBody(new MoatError(code, 'refused')).next, [], code);
  }
});
