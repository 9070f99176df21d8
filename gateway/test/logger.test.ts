/** Lines of the gateway's log: together where they can wait, at once where they matter, none lost at the end. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ClientRequest } from '../src/request/client-request.ts';
import { RequestEntry } from '../src/request/log.ts';
import { LineBatch } from '../src/logger.ts';
import { LogWriter } from '../src/log-writer.ts';

test('lines wait for each other, and leave when there are many', () => {
  const written: string[] = [];
  const batch = new LineBatch({ write: (lines) => void written.push(lines) });
  batch.write('one\n', false);
  batch.write('two\n', false);
  assert.deepEqual(written, []);
  batch.write(`${'x'.repeat(64 * 1024)}\n`, false);
  assert.equal(written.length, 1);
  assert.match(written[0] ?? '', /^one\ntwo\nx+\n$/);
  batch.flush();
  assert.equal(written.length, 1, 'nothing waits any more');
});

test('a lonely line leaves by itself', async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  new LineBatch({ write: resolve }).write('alone\n', false);
  // The batch's own timer keeps no process alive.
  const alive = setInterval(() => undefined, 1_000);
  assert.equal(await promise, 'alone\n');
  clearInterval(alive);
});

test('an urgent line leaves at once, in its place', () => {
  const written: string[] = [];
  const batch = new LineBatch({ write: (lines) => void written.push(lines) });
  batch.write('before\n', false);
  batch.write('urgent\n', true);
  assert.deepEqual(written, ['before\nurgent\n']);
});

test('what is written behind comes whole and in order ', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'moat-log-'));
  try {
    const path = join(dir, 'log');
    const fd = openSync(path, 'w');
    const writer = new LogWriter(fd);
    for (let i = 0; i < 500; i++) {
      writer.write(`${i}\n`);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    writer.finish();
    closeSync(fd);
    assert.equal(await readFile(path, 'utf8'), Array.from({ length: 500 }, (_, i) => `${i}\n`).join(''));
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('several processes that write to one pipe leave every line whole', async () => {
  const source = `
    const { createLogger } = await import(${JSON.stringify(new URL('../src/logger.ts', import.meta.url).href)});
    const logger = createLogger('info', { shared: true });
    for (let i = 0; i < 5000; i++) {
      logger.info({ i, pad: 'x'.repeat(i % 300) }, 'line');
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }`;
  // A shell gives both the same pipe.
  const both = '"$0" "$@" 1>&2 & "$0" "$@" 1>&2; wait';
  const args = [...process.execArgv, '--input-type=module', '-e', source];
  const { stderr } = spawnSync('/bin/sh', ['-c', both, process.execPath, ...args], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  const lines = stderr.split('\n').filter((line) => line.includes('"line"'));
  const seen = lines.map((line) => (JSON.parse(line) as { readonly i: number }).i);
  assert.equal(seen.length, 10_000);
  assert.equal(new Set(seen).size, 5_000);
});

/** What a process says that logs and then does `last`. */
function says(last: string): readonly Record<string, unknown>[] {
  const source = `
    const { createLogger } = await import(${JSON.stringify(new URL('../src/logger.ts', import.meta.url).href)});
    const logger = createLogger('info');
    for (let i = 0; i < 1000; i++) logger.info({ i }, 'line');
    ${last}`;
  const { stderr } = spawnSync(process.execPath, [...process.execArgv, '--input-type=module', '-e', source], {
    encoding: 'utf8',
  });
  const lines = stderr.split('\n').filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

for (const [how, last] of [
  ['exits', 'process.exit(0)'],
  ['throws', 'setImmediate(() => { throw new Error("broken") })'],
  ['ends', ''],
] as const) {
  test(`a process that ${how} has said every line, once and in order`, () => {
    const lines = says(last);
    assert.deepEqual(
      lines.map(({ i }) => i),
      Array.from({ length: 1000 }, (_, i) => i),
    );
    assert.match(String(lines[0]?.['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });
}

test('a request says its own line, with every field that the logger would say', () => {
  const request = {
    id: 'abc',
    client: { address: '2001:db8::1', port: 1 },
    servername: 'shop.localhost',
    head: { method: 'M-SEARCH', fields: [['traceparent', `00-${'a1'.repeat(16)}-${'b2'.repeat(8)}-01`]] },
    body: { receivedBytes: 1 },
    answer: { sentBytes: 2 },
  } as unknown as ClientRequest;
  const rest = { delivered: false, durationMs: 1.6 };
  for (const outcome of [
    { status: 200, deployment: 'q7', service: 'web', peer: '12D3', attempts: 2 },
    { status: 502, code: 'LINK_LOST/a"b\n' },
    { status: 200 },
  ]) {
    const entry = new RequestEntry(request, outcome, rest);
    assert.equal(entry.traceId, 'a1'.repeat(16));
    assert.deepEqual(JSON.parse(`{${entry.toJsonMembers()}}`), JSON.parse(JSON.stringify(entry)));
  }
});
