import assert from 'node:assert/strict';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { refusal } from '../../src/errors.ts';
import { Ipc } from '../../src/workers/ipc.ts';

/** A process that answers questions by hand: `echo`, `silent`, `refuse`, and `order` with what it heard before. */
const CHILD = `
const heard = [];
process.on('message', (m) => {
  if ('say' in m) return void heard.push(m.say);
  if ('ask' in m && m.ask === 'echo') process.send({ answer: new Map([[1, Buffer.from('bytes')]]), id: m.id });
  if ('ask' in m && m.ask === 'order') process.send({ answer: heard, id: m.id });
  if ('ask' in m && m.ask === 'refuse') process.send({ failed: { code: 'LINK_FAILED', message: 'no way' }, id: m.id });
  if ('ask' in m && m.ask === 'ask back') process.send({ ask: 'what', id: 7 });
  if ('failed' in m) process.send({ say: m.failed.code });
});
process.send({ say: 'ready' });`;

interface Scene extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly ipc: Ipc<number, string, string, string>;
  readonly said: string[];
  next(): Promise<string>;
}

async function scene(): Promise<Scene> {
  const directory = await mkdtemp(join(tmpdir(), 'moat-ipc-'));
  const file = join(directory, 'child.cjs');
  await writeFile(file, CHILD);
  const child = fork(file, [], { serialization: 'advanced', execArgv: [] });
  const said: string[] = [];
  let told = Promise.withResolvers<string>();
  const ipc = new Ipc<number, string, string, string>(child, {
    onMessage: (message) => {
      said.push(message);
      told.resolve(message);
      told = Promise.withResolvers();
    },
    onQuestion: () => Promise.reject(refusal('NO_MEMBER_CONNECTED', 'nobody')),
  });
  const next = (): Promise<string> => told.promise;
  await next();
  return {
    child,
    ipc,
    said,
    next,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      await rm(directory, { recursive: true });
    },
  };
}

test('questions are answered with what they were answered, or refused with its code', async () => {
  await using place = await scene();
  assert.deepEqual(await place.ipc.ask('echo', 5_000), new Map([[1, Buffer.from('bytes')]]));
  await assert.rejects(place.ipc.ask('refuse', 5_000), { code: 'LINK_FAILED', message: 'no way' });
});

test('an answer says that everything before was heard', async () => {
  await using place = await scene();
  for (let i = 0; i < 1_000; i++) assert.equal(place.ipc.say(i), true);
  assert.deepEqual(
    await place.ipc.ask('order', 5_000),
    Array.from({ length: 1_000 }, (_, i) => i),
  );
});

test('what fails here is told by its code', async () => {
  await using place = await scene();
  const told = place.next();
  place.ipc.ask('ask back', 5_000).catch(() => undefined);
  assert.equal(await told, 'NO_MEMBER_CONNECTED');
});

test('who is gone answers nothing, and takes nothing', async () => {
  await using place = await scene();
  const asked = place.ipc.ask('silent', 60_000);
  place.child.kill('SIGKILL');
  await assert.rejects(asked, { code: 'WORKER_GONE' });
  assert.equal(place.ipc.say(1), false);
  await assert.rejects(place.ipc.ask('echo', 60_000), { code: 'WORKER_GONE' });
});
