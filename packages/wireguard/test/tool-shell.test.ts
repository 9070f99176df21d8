import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { ToolShell } from '../src/tool-shell.ts';

const OPTIONS = { deadlineMs: 10_000, maxOutputBytes: 1 << 20 };

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
  const late = new ToolShell({ ...OPTIONS, deadlineMs: 100 });
  const hung = await late.run(['sh', '-c', 'sleep 1000 & echo $!; wait'], '');
  assert.deepEqual([hung.code, hung.isLate], [null, true]);
  while (await runs(hung.stdout.trim())) await setImmediate();
  const shell = new ToolShell({ ...OPTIONS, maxOutputBytes: 1000 });
  assert.equal((await shell.run(['yes'], '')).code, null);
  assert.equal((await shell.run(['echo', 'x'], '')).stdout, 'x\n');
});

/** Who ended may still be listed, until its parent hears of it. */
async function runs(pid: string): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z') === false;
}
