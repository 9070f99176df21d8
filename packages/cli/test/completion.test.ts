/** The shells themselves complete the command. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { completionScript, type Shell } from '../src/completion/scripts.ts';
import { completionTree } from '../src/completion/tree.ts';
import { createProgram } from '../src/program.ts';

const tree = completionTree(await createProgram({ stdout: process.stdout }, () => Promise.resolve(), '0'));
const directory = mkdtempSync(join(tmpdir(), 'moat-completion-'));
after(() => rmSync(directory, { recursive: true }));
writeFileSync(join(directory, 'some-file.yaml'), '');

function scriptOf(shell: Shell): string {
  const path = join(directory, `script.${shell}`);
  writeFileSync(path, completionScript(shell, tree));
  return path;
}

function ask(shell: Shell, program: string): string[] {
  const { stdout, stderr, status } = spawnSync(shell, ['-c', program], { cwd: directory, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout.split('\n').filter((line) => line !== '');
}

/** What bash offers behind these words; the last is being typed. */
function bash(words: readonly string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ');
  return ask(
    'bash',
    `source '${scriptOf('bash')}'; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _moat; printf '%s\\n' "\${COMPREPLY[@]}"`,
  );
}

const missing = (shell: Shell): string | false =>
  spawnSync(shell, ['--version']).status === 0 ? false : `there is no ${shell}`;

test('the tree has every command with its flags', () => {
  const paths = tree.map(({ path }) => path);
  for (const path of ['moat', 'moat gateway', 'moat gateway suspend', 'moat key new', 'moat completion']) {
    assert.ok(paths.includes(path), path);
  }
  const suspend = tree.find(({ path }) => path === 'moat gateway suspend');
  assert.ok(suspend?.flags.some(({ flag }) => flag === '--note'));
  assert.deepEqual(tree.find(({ path }) => path === 'moat completion')?.words, ['bash', 'zsh', 'fish']);
});

test('bash completes commands, their commands, flags and words', { skip: missing('bash') }, () => {
  assert.deepEqual(bash(['moat', 'gatew']), ['gateway']);
  assert.deepEqual(bash(['moat', 'gateway', 'sus']), ['suspend']);
  assert.deepEqual(bash(['moat', 'gateway', 'suspend', '--g']), ['--gone']);
  assert.deepEqual(bash(['moat', 'gateway', 'suspend', '--note', 'x', '--js']), ['--json']);
  assert.deepEqual(bash(['moat', 'service', 'install', 'g']), ['gateway']);
  assert.deepEqual(bash(['moat', 'completion', '']).toSorted(), ['bash', 'fish', 'zsh']);
  assert.deepEqual(bash(['moat', 'nonsense', 'x']), [], 'files are the shell’s own');
  assert.deepEqual(bash(['moat', 'run', '--', 'gatew']), [], 'behind -- stands another program');
  assert.ok(bash(['moat', '']).includes('publish'));
});

test('fish completes the same', { skip: missing('fish') }, () => {
  const fish = (line: string): string[] =>
    ask('fish', `source '${scriptOf('fish')}'; complete -C '${line}'`).map((each) => each.split('\t')[0] ?? '');
  assert.deepEqual(fish('moat gatew'), ['gateway']);
  assert.deepEqual(fish('moat gateway sus'), ['suspend']);
  assert.ok(fish('moat gateway suspend --g').includes('--gone'));
  assert.deepEqual(fish('moat service install g'), ['gateway']);
});

test('zsh takes the script', { skip: missing('zsh') }, () => {
  ask('zsh', `autoload -Uz compinit; compinit -D; source '${scriptOf('zsh')}'; [[ $_comps[moat] == _moat ]]`);
});
