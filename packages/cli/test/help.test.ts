import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Terminal } from './support/terminal.ts';

const VERBS = [
  ['dev', 'init', 'key new', 'key show', 'validate', 'fmt', 'plan', 'apply'],
  ['node run', 'node status', 'node stop', 'node expose', 'node unexpose', 'invite', 'join'],
  ['status', 'explain', 'ping', 'forward', 'run', 'publish', 'unpublish', 'names'],
  ['gateway init', 'gateway run', 'gateway status', 'certs', 'certs show', 'certs client', 'trust', 'doctor'],
].flat();

test('moat alone shows every verb, in lines that a terminal of its time can show; a group shows its own', async () => {
  using terminal = new Terminal();
  const { stdout, exitCode } = await terminal.run([]);
  assert.equal(exitCode, 0);
  for (const line of stdout.split('\n')) assert.ok(line.length <= 125, line);
  for (const verb of VERBS) {
    const [group = '', word] = verb.split(' ');
    assert.match(stdout, new RegExp(`^  ${group}\\b`, 'm'), group);
    const { stdout: shown } = await terminal.run([group, '--help']);
    if (word !== undefined) assert.match(shown, new RegExp(`^  ${word}\\b`, 'm'), verb);
  }
});

test('every verb has help with an example of itself, before its flags', async () => {
  using terminal = new Terminal();
  for (const verb of VERBS) {
    const { stdout, exitCode } = await terminal.run([...verb.split(' '), '--help']);
    assert.equal(exitCode, 0, verb);
    const example = stdout.indexOf(`  moat ${verb}`);
    assert.ok(example >= 0, `${verb} has no example`);
    assert.ok(example < stdout.indexOf('Usage  '), `${verb}: examples come first`);
    assert.match(stdout, /--json/, verb);
  }
});

test('an unknown verb or flag is exit code 2, with the nearest one', async () => {
  using terminal = new Terminal();
  const cases: readonly [string[], RegExp][] = [
    [['stauts'], /did you mean status\?/],
    [['status', '--detial'], /did you mean --detail\?/],
    [['join'], /missing required argument/],
    [['key'], /moat key needs one more word\n {2}Next {3}moat key new /],
    [['help', 'stauts'], /unknown command 'stauts'/],
    [['forward', '--locl', '1'], /moat forward --help/],
    [['explain', 'a', 'b', 'c'], /too many arguments/],
  ];
  for (const [args, says] of cases) {
    const { exitCode, stderr, stdout } = await terminal.run(args);
    assert.equal(exitCode, 2, args.join(' '));
    assert.match(stderr, says);
    assert.match(stderr, /Code {3}USAGE/);
    assert.equal(stdout, '');
    const json = await terminal.json(args);
    assert.equal(json.error.code, 'USAGE');
    assert.equal(json.stdout, '');
  }
});

test('--version names Moat and Node', async () => {
  using terminal = new Terminal();
  const { stdout } = await terminal.run(['--version']);
  assert.equal(stdout, `moat 0.0.0-test (node ${process.versions.node})\n`);
});
