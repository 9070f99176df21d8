import assert from 'node:assert/strict';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { Terminal } from './support/terminal.ts';

test('a plain key is a 0600 file and says so; show prints its public half', async () => {
  using terminal = new Terminal();
  const made = await terminal.run(['key', 'new']);
  assert.equal(made.exitCode, 0, made.stderr);
  assert.match(made.stdout, /! plain: whoever can read this file is the owner/);
  assert.equal(statSync(terminal.path('home', 'owner.key')).mode & 0o777, 0o600);
  const shown = await terminal.json(['key', 'show']);
  assert.match(String(shown.data['key']), /^ed25519:/);
  assert.equal(shown.data['sealed'], false);
  assert.ok(made.stdout.includes(String(shown.data['key'])));
});

test('a key is never replaced', async () => {
  using terminal = new Terminal();
  await terminal.run(['key', 'new']);
  const before = readFileSync(terminal.path('home', 'owner.key'), 'utf8');
  const again = await terminal.json(['key', 'new']);
  assert.equal(again.exitCode, 6);
  assert.equal(again.error.code, 'KEY_FILE_EXISTS');
  assert.equal(readFileSync(terminal.path('home', 'owner.key'), 'utf8'), before);
});

test('a passphrase comes from a file and is not in the key file or the output', async () => {
  using terminal = new Terminal();
  writeFileSync(terminal.path('secret'), 'correct horse\n', { mode: 0o600 });
  const made = await terminal.json(['key', 'new', '--passphrase-file', 'secret', '--key', 'mine.key']);
  assert.equal(made.data['sealed'], true);
  const text = readFileSync(terminal.path('mine.key'), 'utf8') + made.stdout + made.stderr;
  assert.ok(!text.includes('correct horse'));
});

test('without a key, and with one that others can read, the command says what to do', async () => {
  using terminal = new Terminal();
  const missing = await terminal.json(['key', 'show']);
  assert.equal(missing.exitCode, 5);
  assert.ok(missing.error.next.includes('moat key new'));
  await terminal.run(['key', 'new']);
  chmodSync(terminal.path('home', 'owner.key'), 0o644);
  const exposed = await terminal.json(['key', 'show']);
  assert.equal(exposed.exitCode, 3);
  assert.equal(exposed.error.code, 'KEY_FILE_EXPOSED');
});

test('a file that is no key says so, whoever reads it', async () => {
  using terminal = new Terminal();
  await terminal.run(['init', 'shop', '--member', 'web-1']);
  for (const text of ['garbage\n', '{}', '{"key":7,"seed":"x"}', 'null', '[]', '']) {
    writeFileSync(terminal.path('bad.key'), text, { mode: 0o600 });
    for (const args of [['key', 'show'], ['plan'], ['apply'], ['init', 'x', '--member', 'a', '-f', 'x.yaml']]) {
      const ran = await terminal.json([...args, '--key', 'bad.key']);
      assert.deepEqual([ran.error.code, ran.exitCode], ['KEY_FILE_INVALID', 3], `${args.join(' ')} ${text}`);
      assert.ok(ran.error.next.length > 0);
    }
  }
});
