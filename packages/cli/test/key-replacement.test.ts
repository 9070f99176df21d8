import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseDeploymentFile } from '@moat/contract';
import { MoatError } from '@moat/core';
import { createOwnerKey, sealOwnerKey } from '@moat/identity';
import { FakeAgent } from './support/fake-agent.ts';
import { Terminal, type Ran } from './support/terminal.ts';

interface Home extends AsyncDisposable {
  readonly terminal: Terminal;
  readonly agent: FakeAgent;
}

async function openHome(): Promise<Home> {
  const terminal = new Terminal();
  const agent = await FakeAgent.start(terminal.home);
  return {
    terminal,
    agent,
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]();
      terminal[Symbol.dispose]();
    },
  };
}

async function ok({ terminal }: Pick<Home, 'terminal'>, args: readonly string[], stdin?: string): Promise<Ran> {
  const ran = await terminal.json(args, stdin === undefined ? {} : { stdin });
  assert.equal(ran.exitCode, 0, `${args.join(' ')}: ${ran.stderr}`);
  return ran;
}

/** A network of this machine with this owner key, and nothing else. */
async function grow(home: Home, name: string, owners = ''): Promise<void> {
  const { terminal, agent } = home;
  const members = `members: { web-1: { node: ${agent.key.peerId}, keeper: true } }`;
  writeFileSync(terminal.path(`${name}.yaml`), `version: 1\nname: ${name}\n${owners}\n${members}\n`);
  await ok(home, ['apply', '--yes', '-f', `${name}.yaml`]);
}

const ownersOf = ({ agent }: Home, name: string): string[] =>
  [...agent.held.values()].find(({ contract }) => contract.name === name)?.contract.owners.keys.map(({ key }) => key) ??
  [];
const shown = async (home: Home): Promise<string> => String((await ok(home, ['key', 'show'])).data['key']);

test('rotate replaces the key in every network it owns, sealed at once; the old one decides nothing', async () => {
  await using home = await openHome();
  const { terminal, agent } = home;
  await ok(home, ['key', 'new']);
  const old = await shown(home);
  await grow(home, 'shop');
  await grow(home, 'blog');
  copyFileSync(terminal.path('home', 'owner.key'), terminal.path('stolen.key'));
  const rotated = await ok(home, ['key', 'rotate']);
  const now = await shown(home);
  assert.notEqual(now, old);
  assert.deepEqual([rotated.data['key'], rotated.data['complete']], [now, true]);
  for (const name of ['shop', 'blog']) assert.deepEqual(ownersOf(home, name), [now]);
  const [held] = agent.held.values();
  assert.equal(held?.contract.version, 2, 'the change and its seal');
  assert.ok(readFileSync(String(rotated.data['oldFile']), 'utf8').includes(old), 'the old key is kept');
  assert.equal(existsSync(terminal.path('home', 'owner.key.new')), false);

  const thief = await terminal.json(['destroy', '-n', 'shop', '--yes', '--key', 'stolen.key']);
  assert.deepEqual([thief.error.code, thief.exitCode], ['OWNER_KEY_FOREIGN', 4]);
  await ok(home, ['destroy', '-n', 'shop', '--yes']);
});

test('cut off at any instant, rotate is finished by running it again', async () => {
  await using home = await openHome();
  const { terminal, agent } = home;
  await ok(home, ['key', 'new']);
  await grow(home, 'shop');
  await grow(home, 'blog');
  const old = await shown(home);

  agent.refuseNext = new MoatError('DISK_FULL', 'no room');
  const half = await terminal.json(['key', 'rotate']);
  assert.equal(half.exitCode, 1);
  const data = JSON.parse(half.stdout) as { data: { networks: { state: string }[]; newKey: string } };
  assert.deepEqual(
    data.data.networks.map(({ state }) => state),
    ['failed', 'replaced'],
  );
  assert.equal(await shown(home), old, 'the key that one network still needs is in place');
  const waiting = readFileSync(terminal.path('home', 'owner.key.new'), 'utf8');
  const again = await ok(home, ['key', 'rotate']);
  assert.deepEqual([again.data['key'], again.data['complete']], [data.data.newKey, true]);
  assert.equal(await shown(home), data.data.newKey);

  // Between the two last steps: the new key is in place, and its copy too.
  writeFileSync(terminal.path('home', 'owner.key.new'), waiting, { mode: 0o600 });
  const finished = await ok(home, ['key', 'rotate']);
  assert.equal(finished.data['key'], data.data.newKey, 'no further rotation');
  assert.deepEqual(
    readdirSync(terminal.path('home')).filter((file) => file.startsWith('owner.key')).length,
    2,
    'the key and the one before',
  );
});

test('a sealed key is followed by a sealed one', async () => {
  await using home = await openHome();
  const { terminal } = home;
  const sealed = sealOwnerKey(createOwnerKey(), 'correct horse', { logN: 14 });
  writeFileSync(terminal.path('mine.key'), sealed, { mode: 0o600 });
  writeFileSync(terminal.path('secret'), 'correct horse\n');
  const rotate = ['key', 'rotate', '--key', 'mine.key'];
  assert.equal((await terminal.json(rotate)).error.code, 'CONFIRMATION_NEEDED');
  await ok(home, [...rotate, '--passphrase-file', 'secret']);
  assert.equal((await ok(home, ['key', 'show', '--key', 'mine.key'])).data['sealed'], true);
  assert.notEqual(readFileSync(terminal.path('mine.key'), 'utf8'), sealed);
});

test('init makes a recovery key when asked; its words replace a lost key', async () => {
  await using home = await openHome();
  const { terminal } = home;
  const made = await ok(home, ['init', 'shop', '--member', 'web-1', '--recovery']);
  const { words, key } = made.data['recovery'] as { words: string; key: string };
  assert.equal(words.split(' ').length, 24);
  const text = readFileSync(terminal.path('moat.yaml'), 'utf8');
  assert.ok(!text.includes(words.split(' ').slice(0, 2).join(' ')));
  const { file } = parseDeploymentFile(text, 'moat.yaml');
  assert.equal(file?.owners.threshold, 1);
  assert.equal(file?.owners.keys?.find(({ name }) => name === 'recovery')?.key, key);
  await ok(home, ['apply', '--yes']);
  const lost = await shown(home);
  rmSync(terminal.path('home', 'owner.key'));

  const recovered = await ok(home, ['key', 'recover', '--words', '-'], `${words}\n`);
  const now = await shown(home);
  assert.equal(recovered.data['key'], now);
  assert.deepEqual(ownersOf(home, 'shop').toSorted(), [now, key].toSorted());
  assert.notEqual(now, lost);
  const again = await ok(home, ['key', 'recover', '--words', '-'], words);
  assert.notEqual(again.data['key'], now, 'the words work as often as they are needed');
  assert.equal(await shown(home), again.data['key']);
});

test('words that are wrong, or of nobody here, change nothing', async () => {
  await using home = await openHome();
  const { terminal } = home;
  await ok(home, ['key', 'new']);
  await grow(home, 'shop');
  const typo = await terminal.json(['key', 'recover', '--words', '-'], { stdin: 'abandon '.repeat(24) });
  assert.deepEqual([typo.error.code, typo.exitCode], ['RECOVERY_WORDS_INVALID', 3]);
  const other = `${'abandon '.repeat(23)}art`;
  const foreign = await terminal.json(['key', 'recover', '--words', '-'], { stdin: other });
  assert.deepEqual([foreign.error.code, foreign.exitCode], ['OWNER_KEY_FOREIGN', 4]);
  const shouted = await terminal.json(['key', 'recover', '--words', other]);
  assert.deepEqual([shouted.error.code, shouted.exitCode], ['USAGE', 2]);
  assert.ok(!shouted.stderr.includes('abandon'));
  const asked = await terminal.json(['key', 'recover']);
  assert.equal(asked.error.code, 'CONFIRMATION_NEEDED');
});

test('without a terminal init makes no recovery key, and says so', async () => {
  await using home = await openHome();
  const made = await home.terminal.run(['init', 'shop', '--member', 'web-1']);
  assert.match(made.stdout, /! no recovery key: .*moat init --recovery/);
  const declined = await home.terminal.run(['init', 'blog', '--member', 'web-1', '-f', 'b.yaml', '--no-recovery']);
  assert.doesNotMatch(declined.stdout, /recovery/);
});
