/** `moat dev`, the first thing anybody runs: all processes, the address, what to try next, and nothing left behind. */
import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { after, suite, test } from 'node:test';
import { Browser } from './browser.ts';
import { Machine, eventually, type Daemon } from './machine.ts';

/** Pids of processes that have `text` in their command line or environment. */
async function processesWith(text: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const read = (file: string): Promise<string> => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
      const state = /^State:\s+(\w)/m.exec(await read('status'))?.[1];
      return state !== 'Z' && ((await read('cmdline')) + (await read('environ'))).includes(text) ? pid : undefined;
    }),
  );
  return found.filter((pid) => pid !== undefined);
}

async function ready(daemon: Daemon): Promise<{ url: string; caFile: string }> {
  return eventually(
    'dev is ready',
    async () => {
      if (!daemon.running) throw new Error(`dev ended:\n${daemon.output}`);
      const line = daemon.output.split('\n').find((one) => one.startsWith('{"kind":"dev"'));
      return line !== undefined && (JSON.parse(line) as { data: { url: string; caFile: string } }).data;
    },
    60_000,
  );
}

suite('moat dev', { skip: process.platform !== 'linux' && 'reads /proc' }, () => {
  let machine: Machine;
  after(() => machine[Symbol.asyncDispose]());

  test('--check proves every hop and leaves nothing behind', async () => {
    // No MOAT_HOME: as in a terminal of somebody who runs nothing else.
    machine = await Machine.create('dev', { env: { MOAT_HOME: undefined } });
    const result = await machine.ok(['dev', '--check']);
    const hops = result.json['hops'] as { name: string; ok: boolean; proof: string }[];
    assert.deepEqual(
      hops.map(({ name, ok }) => [name, ok]),
      ['join', 'grant', 'private service', 'publication', 'https'].map((name) => [name, true]),
      JSON.stringify(hops),
    );
    assert.deepEqual(await processesWith(machine.home), []);
  });

  test('serves the guestbook, is found by other commands, and goes on where it was', async () => {
    const first = machine.spawn(['dev', '--port', '0', '--json']);
    const { url, caFile } = await ready(first);
    const browser = new Browser({ port: Number(new URL(url).port), ca: await readFile(caFile, 'utf8') });
    assert.equal((await browser.fetch(new URL(url).hostname)).status, 200);
    const status = await machine.ok(['status']);
    assert.match(status.stdout, /"name":"guestbook"/);
    assert.equal((await machine.run(['dev'])).json['code'], 'DEV_RUNNING');
    await first.kill('SIGINT');
    assert.equal(first.child.exitCode, 0, first.output);
    assert.deepEqual(await processesWith(machine.home), []);

    const second = machine.spawn(['dev', '--port', '0', '--json']);
    await ready(second);
    await second.kill('SIGKILL');
    await eventually('its processes end without it', async () => (await processesWith(machine.home)).length === 0);
  });
});
