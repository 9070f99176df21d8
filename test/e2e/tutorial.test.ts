/**
 * The documentation is run: each `sh` block of each tutorial, in order, in one shell with a home of its own; and what
 * the README and the how-to pages say about `moat` exists.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '@moat/testkit';
import { Machine } from './machine.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEADLINE_MS = 150_000;

/** A shell block and the line it begins at. */
interface Block {
  readonly line: number;
  readonly text: string;
}

function shellBlocks(file: string): Block[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((match) => ({
    line: text.slice(0, match.index).split('\n').length + 1,
    text: match[1] ?? '',
  }));
}

/** One script of all blocks; each says where it begins, so that a failure has a line. */
function scriptOf(file: string): string {
  const blocks = shellBlocks(file).map(({ line, text }) => `echo '── ${basename(file)}:${line}' >&2\n${text}`);
  return ['set -e', ...blocks].join('\n');
}

/** A free port for every variable that a tutorial takes as `NAME=${NAME:-1234}`. */
async function portsFor(script: string): Promise<Record<string, string>> {
  const names = [...script.matchAll(/\b([A-Z_]+)=\$\{\1:-\d+\}/g)].map((match) => match[1] ?? '');
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, String(await freePort())])));
}

/** A folder with `moat` and the Node of this test, for PATH. */
async function programsIn(home: string): Promise<string> {
  const bin = join(home, 'bin');
  await mkdir(bin);
  await symlink(join(ROOT, 'packages/cli/bin/moat.cjs'), join(bin, 'moat'));
  return [bin, dirname(process.execPath), process.env['PATH']].join(delimiter);
}

/** What the processes of a tutorial logged last. */
function logsIn(home: string): string {
  return globSync('*/*.log', { cwd: home })
    .map((file) => `── ${file}\n${readFileSync(join(home, file), 'utf8').slice(-2_000)}`)
    .join('\n');
}

/** Processes of this script's group that are still there. */
function groupLives(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch {
    return false;
  }
}

suite('tutorials', () => {
  for (const file of globSync('docs/tutorials/*.md', { cwd: ROOT }).toSorted()) {
    test(`${basename(file)} does what it says`, async () => {
      const home = await mkdtemp(join(tmpdir(), 'moat-tutorial-'));
      const script = scriptOf(file);
      const env: NodeJS.ProcessEnv = { HOME: home, NO_COLOR: '1', PATH: await programsIn(home) };
      Object.assign(env, await portsFor(script));
      // A group of its own, so that nothing it started outlives a failure.
      const shell = spawn('bash', ['-c', script], {
        cwd: home,
        env,
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const pid = shell.pid ?? 0;
      let output = '';
      for (const stream of [shell.stdout, shell.stderr])
        stream.setEncoding('utf8').on('data', (text) => (output += text));
      const timer = setTimeout(() => process.kill(-pid, 'SIGKILL'), DEADLINE_MS);
      try {
        const [exitCode] = (await once(shell, 'exit')) as [number | null];
        assert.equal(exitCode, 0, `${file} ended with ${exitCode}\n${output}\n${logsIn(home)}`);
        assert.equal(groupLives(pid), false, `${file} leaves processes behind\n${output}`);
      } finally {
        clearTimeout(timer);
        if (groupLives(pid)) process.kill(-pid, 'SIGKILL');
        await rm(home, { recursive: true, force: true });
      }
    });
  }
});

suite('commands named in the documentation', () => {
  const pages = [
    'README.md',
    'examples/guestbook/README.md',
    ...globSync('docs/{tutorials,how-to}/*.md', { cwd: ROOT }),
  ];
  const help = new Map<string, Promise<string>>();
  let machine: Machine;

  before(async () => {
    machine = await Machine.create('docs');
  });
  after(() => machine[Symbol.asyncDispose]());

  test('exist, with their flags', async () => {
    const helpOf = (words: readonly string[]): Promise<string> => {
      const key = words.join(' ');
      const known = help.get(key) ?? machine.run([...words, '--help']).then(({ stdout }) => stdout);
      help.set(key, known);
      return known;
    };
    const wrong: string[] = [];
    let checked = 0;
    for (const page of pages) {
      for (const { where, line } of moatLines(page)) {
        const words = wordsOf(line);
        const [verb = '', sub = ''] = words;
        const top = await helpOf([]);
        if (verb === '' || verb.startsWith('-')) continue;
        if (!new RegExp(`^  ${verb}\\b`, 'm').test(top)) {
          // unpublish and others without a line of their own still have help of their own.
          if (!(await helpOf([verb])).startsWith(`moat ${verb} `)) {
            wrong.push(`${where}: moat ${verb} does not exist`);
            continue;
          }
        }
        let text = await helpOf([verb]);
        if (/^Usage {2}moat \w+ <command>$/m.test(text)) {
          if (sub === '' || sub.startsWith('-')) continue;
          text = await helpOf([verb, sub]);
          if (!text.startsWith(`moat ${verb} ${sub} `)) wrong.push(`${where}: moat ${verb} ${sub} does not exist`);
        }
        // Verbs below, as `gateway names transfer`: each is named in the help of the one above.
        const path = [verb, ...(text.startsWith(`moat ${verb} ${sub} `) ? [sub] : [])];
        for (const word of words.slice(path.length)) {
          const listed = text.split('\nCommands\n')[1]?.split('\n\n', 1)[0] ?? '';
          if (!/^[a-z-]+$/.test(word) || !new RegExp(`^  ${word}\\b`, 'm').test(listed)) break;
          const below = await helpOf([...path, word]);
          if (!below.startsWith(`moat ${[...path, word].join(' ')} `)) break;
          text = below;
          path.push(word);
        }
        for (const flag of words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.split('=')[0] ?? '')) {
          checked += 1;
          if (!text.includes(`${flag} `) && !text.includes(`${flag},`)) wrong.push(`${where}: ${flag} in: ${line}`);
        }
      }
    }
    assert.deepEqual(wrong, []);
    assert.ok(checked > 20, `the scan found flags (${checked})`);
  });

  test('the guestbook’s deployment file is valid', async () => {
    const result = await machine.run(['validate', join(ROOT, 'examples/guestbook/moat.yaml')]);
    assert.equal(result.exitCode, 0, result.stdout + result.stderr);
  });
});

interface MoatLine {
  readonly where: string;
  /** What follows `moat`. */
  readonly line: string;
}

/** Each `moat …` of the shell and plain blocks of a page; continued lines are one. */
function moatLines(page: string): MoatLine[] {
  const text = readFileSync(join(ROOT, page), 'utf8').replaceAll(/\\\n\s*/g, ' ');
  const found: MoatLine[] = [];
  let inside: string | undefined;
  for (const [i, line] of text.split('\n').entries()) {
    const fence = /^```(\w*)/.exec(line);
    if (fence) inside = inside === undefined ? (fence[1] ?? '') : undefined;
    if (inside !== 'sh' && inside !== '') continue;
    const command = /(?:^|\s|\()moat (?=[a-z])(.*)$/.exec(line.replace(/(^|\s)#.*$/, ''));
    if (command?.[1] !== undefined) found.push({ where: `${page}:${i + 1}`, line: command[1] });
  }
  return found;
}

/** Words up to a redirection, a pipe, the end of the command, or `--`, behind which another program's begin. */
function wordsOf(line: string): string[] {
  const words = line.split(/\s+/).filter((word) => word !== '');
  const end = words.findIndex((word) => /^(--|[|&;<>]+|2>&1|>.*|\|\|)$/.test(word));
  return end === -1 ? words : words.slice(0, end);
}
