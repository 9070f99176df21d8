import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ToolShell } from '../src/tool-shell.ts';

const run = promisify(execFile);
const OPTIONS = { deadlineMs: 10_000, slowMs: 10_000, maxOutputBytes: 1 << 20 };

test('what a program prints, complains of and ends with comes back as it was, whatever its words are', async () => {
  const shell = new ToolShell(OPTIONS);
  const words = ["it's", '$HOME `id`', 'a\nb', '', '<<EOF', '*'];
  const printed = await shell.run(['printf', '%s|', ...words], '');
  assert.deepEqual(printed, { code: 0, stdout: words.map((word) => `${word}|`).join(''), stderr: '', isLate: false });
  const input = `${'x'.repeat(200_000)}\n$(id) 'y'\n`;
  assert.equal((await shell.run(['cat'], input)).stdout, input);
  const failed = await shell.run(['sh', '-c', 'echo out; echo no >&2; exit 3'], '');
  assert.deepEqual(failed, { code: 3, stdout: 'out\n', stderr: 'no\n', isLate: false });
  assert.equal((await shell.run(['moat-no-such-tool'], '')).code, 127);
  assert.equal((await shell.run(['cat'], '')).stdout, '');
});

test('runs that are asked for at once come one after the other, of one shell', async () => {
  const shell = new ToolShell(OPTIONS);
  const pids = await Promise.all([1, 2, 3].map(() => shell.run(['sh', '-c', 'echo $PPID'], '')));
  assert.equal(new Set(pids.map(({ stdout }) => stdout)).size, 1);
});

test('what hangs or prints without end is ended with all that it started, and the next run works', async () => {
  const late = new ToolShell({ ...OPTIONS, deadlineMs: 2_000 });
  const hung = await late.run(['sh', '-c', 'sleep 1000 & echo $!; wait'], '');
  assert.deepEqual([hung.code, hung.isLate], [null, true]);
  assert.match(hung.stdout, /^\d+\n$/);
  while (await runs(hung.stdout.trim())) await setImmediate();
  const shell = new ToolShell({ ...OPTIONS, maxOutputBytes: 1000 });
  assert.equal((await shell.run(['yes'], '')).code, null);
  assert.equal((await shell.run(['echo', 'x'], '')).stdout, 'x\n');
});

test('one that is slow is waited for by nobody else, and its shell ends with it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'moat-shell-'));
  const shell = new ToolShell({ ...OPTIONS, slowMs: 50 });
  const sign = join(folder, 'sign');
  const slow = shell.run(['sh', '-c', 'until [ -e "$0" ]; do sleep 0.01; done; echo $PPID', sign], '');
  // Behind it, and it ends after this one alone.
  const next = await shell.run(['sh', '-c', ': > "$0"; echo $PPID', sign], '');
  const { stdout, isLate } = await slow;
  assert.equal(isLate, false);
  assert.notEqual(stdout, next.stdout);
  while (await runs(stdout.trim())) await setImmediate();
  assert.notEqual((await shell.run(['sh', '-c', 'echo $PPID'], '')).stdout, stdout);
  await rm(folder, { recursive: true });
});

test('a shell that was killed between two runs costs the next one nothing', async () => {
  const shell = new ToolShell(OPTIONS);
  const { stdout } = await shell.run(['sh', '-c', 'echo $PPID'], '');
  process.kill(Number(stdout), 'SIGKILL');
  while (await runs(stdout.trim())) await setImmediate();
  await setImmediate();
  const next = await shell.run(['echo', 'x'], '');
  assert.deepEqual([next.stdout, next.isLate], ['x\n', false]);
});

test('where no file can be opened a run fails, and the next one works when there are files again', async () => {
  const program = `
    import { closeSync, openSync } from 'node:fs';
    import { ToolShell } from ${JSON.stringify(new URL('../src/tool-shell.ts', import.meta.url).href)};
    const shell = new ToolShell(${JSON.stringify(OPTIONS)});
    const files = [];
    try { for (;;) files.push(openSync('/dev/null')); } catch {}
    const first = await shell.run(['echo', 'x'], '');
    for (const file of files) closeSync(file);
    const second = await shell.run(['echo', 'x'], '');
    console.log(JSON.stringify([first.code, second.stdout]));`;
  const limited = ['-c', 'ulimit -n 100; exec "$0" "$@"', process.execPath, '--conditions=@moat/source'];
  const { stdout } = await run('sh', [...limited, '--input-type=module', '-e', program]);
  assert.deepEqual(JSON.parse(stdout), [null, 'x\n']);
});

/** Who ended may still be listed, until its parent hears of it. */
async function runs(pid: string): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z') === false;
}
