import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { formatBasicUser } from '@moat/contract';
import { Terminal } from './support/terminal.ts';

test('init writes a file that validates, with this machine as keeper', async () => {
  using terminal = new Terminal();
  const made = await terminal.json(['init', 'shop', '--member', 'web-1', '--yes']);
  assert.equal(made.exitCode, 0, made.stderr);
  const text = readFileSync(terminal.path('moat.yaml'), 'utf8');
  assert.ok(text.includes(`web-1: { node: ${String(made.data['peerId'])}, keeper: true }`));
  const checked = await terminal.json(['validate']);
  assert.equal(checked.data['valid'], true, checked.stdout);
  assert.equal((await terminal.run(['fmt', '--check'])).exitCode, 0);
  const again = await terminal.json(['init', 'shop', '--yes']);
  assert.equal(again.error.code, 'FILE_EXISTS');
  assert.equal(again.exitCode, 6);
});

test('init without a terminal asks for flags, not for answers', async () => {
  using terminal = new Terminal();
  const asked = await terminal.json(['init']);
  assert.equal(asked.exitCode, 2);
  assert.equal(asked.error.code, 'CONFIRMATION_NEEDED');
  assert.equal((await terminal.json(['init', 'Not A Name', '--yes'])).error.code, 'USAGE');
});

test('a wrong file is exit code 3 with file, line and column of every problem', async () => {
  using terminal = new Terminal();
  writeFileSync(
    terminal.path('moat.yaml'),
    'version: 1\nname: shop\nmembers: { a: {} }\nservices:\n  web: { on: [a], prot: 80 }\naccess: [{ from: [b], to: [web] }]\n',
  );
  const text = await terminal.run(['validate']);
  assert.equal(text.exitCode, 3);
  assert.match(text.stderr, /moat\.yaml:5:\d+ .*prot.*did you mean port\?/);
  assert.match(text.stderr, /Code {3}FILE_INVALID/);
  const json = await terminal.json(['validate']);
  assert.equal(json.exitCode, 3);
  assert.equal(json.data['valid'], false);
  const [first] = json.data['diagnostics'] as { line: number; col: number; code: string }[];
  assert.equal(first?.line, 5);
  assert.equal((await terminal.json(['plan'])).error.code, 'FILE_INVALID');
});

test('users of a name are read from beside the file, and never shown', async () => {
  using terminal = new Terminal();
  mkdirSync(terminal.path('site'));
  const file = [
    'version: 1\nname: shop\nmembers: { a: { keeper: true } }\nservices: { web: { on: a, port: 80, protocol: http } }',
    'publish:\n  shop: { gateway: apps.example.com, service: web, auth: { basic: { file: users } } }\n',
  ].join('\n');
  writeFileSync(terminal.path('site/moat.yaml'), file);
  const missing = await terminal.run(['validate', 'site/moat.yaml']);
  assert.equal(missing.exitCode, 3);
  assert.match(
    missing.stderr,
    /site\/moat\.yaml:6:\d+ publish\.shop\.auth\.basic\.file: cannot be read: .*site\/users/,
  );
  writeFileSync(terminal.path('site/users'), 'ana:hunter2\n');
  const plain = await terminal.json(['validate', 'site/moat.yaml']);
  assert.equal(plain.exitCode, 3);
  assert.match(plain.stdout, /USERS_INVALID/);
  assert.ok(!`${plain.stdout}${plain.stderr}`.includes('hunter2'));
  const hash = { log2N: 14, r: 8, p: 1, salt: new Uint8Array(16), hash: new Uint8Array(32) };
  writeFileSync(terminal.path('site/users'), `${formatBasicUser('ana', hash)}\n`);
  assert.equal((await terminal.run(['validate', 'site/moat.yaml'])).exitCode, 0);
});

test('a missing file says how to make one', async () => {
  using terminal = new Terminal();
  const missing = await terminal.json(['validate']);
  assert.equal(missing.exitCode, 5);
  assert.deepEqual(missing.error.next, ['moat init', 'or name yours with --file FILE']);
});

test('fmt rewrites in place and --check only says so', async () => {
  using terminal = new Terminal();
  const untidy = 'version: 1\nname:   shop # mine\nmembers: {a: {keeper: true}}\n';
  writeFileSync(terminal.path('moat.yaml'), untidy);
  assert.equal((await terminal.run(['fmt', '--check'])).exitCode, 9);
  assert.equal(readFileSync(terminal.path('moat.yaml'), 'utf8'), untidy);
  assert.equal((await terminal.run(['fmt'])).exitCode, 0);
  assert.match(readFileSync(terminal.path('moat.yaml'), 'utf8'), /name: shop # mine/);
  assert.equal((await terminal.run(['fmt', '--check'])).exitCode, 0);
});

test('the guestbook’s file is valid and formatted', async () => {
  using terminal = new Terminal();
  const path = fileURLToPath(new URL('../../../examples/guestbook/moat.yaml', import.meta.url));
  assert.equal((await terminal.run(['validate', path])).exitCode, 0);
  assert.equal((await terminal.run(['fmt', '--check', path])).exitCode, 0);
});

test('gateway init writes a file for this machine or with a certificate, never replacing one', async () => {
  using terminal = new Terminal();
  assert.equal((await terminal.run(['gateway', 'init', '--domain', 'localhost', '--open'])).exitCode, 0);
  assert.match(readFileSync(terminal.path('gateway.yaml'), 'utf8'), /publishers: open/);
  assert.equal((await terminal.json(['gateway', 'init', '--domain', 'localhost'])).error.code, 'FILE_EXISTS');
  const bare = ['gateway', 'init', '--domain', 'apps.example.com', '--config', 'b.yaml', '--email', 'ops@example.com'];
  assert.equal((await terminal.run(bare)).exitCode, 0);
  assert.match(readFileSync(terminal.path('b.yaml'), 'utf8'), /tls: \{ acme: \{ email: ops@example\.com \} \}/);
  const files = ['--certificate', 'full chain.pem', '--certificate-key', 'key.pem'];
  const early = await terminal.run(['gateway', 'init', '--domain', 'apps.example.com', '--config', 'c.yaml', ...files]);
  assert.match(early.stdout, /! there is no full chain\.pem yet\n! there is no key\.pem yet/);
  assert.match(readFileSync(terminal.path('c.yaml'), 'utf8'), /certificate: "full chain\.pem", key: key\.pem/);
  for (const [args, says] of [
    [['--domain', 'apps..example'], /"apps\.\.example" is not a domain/],
    [['--domain', 'localhost', '--allow', 'shop'], /--allow shop is not a deployment id/],
  ] as const) {
    const wrong = await terminal.json(['gateway', 'init', '--config', 'd.yaml', ...args]);
    assert.equal(wrong.exitCode, 2);
    assert.match(wrong.error.message, says);
  }
  const loud = await terminal.json(['gateway', 'run', '--log-level', 'loud']);
  assert.deepEqual([loud.exitCode, loud.error.code], [2, 'USAGE']);
});
