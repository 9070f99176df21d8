/** Whoever was told that something is done finds its line, whatever happens to the process. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseLine } from '../../src/audit/check.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';

const STORE = new URL('../../src/store/sqlite.ts', import.meta.url).href;

test('a process that is killed while it writes loses no line it acknowledged', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'moat-crash-'));
  const path = join(directory, 'gateway.db');
  const key = new Uint8Array(32);
  const script = `
    import { openSqliteStore } from ${JSON.stringify(STORE)};
    import { writeSync } from 'node:fs';
    const store = openSqliteStore(${JSON.stringify(path)}, { audit: { key: new Uint8Array(32), now: Date.now } });
    for (;;) {
      store.commit({ audit: [{ action: 'name.claimed', actor: 'p' }, { action: 'name.released', actor: 'p' }] });
      writeSync(1, store.audit.head.seq + '\\n');
    }`;
  const child = spawn(process.execPath, ['--conditions=@moat/source', '--input-type=module', '-e', script]);
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    if (said.split('\n').length > 40) child.kill('SIGKILL');
  });
  await once(child, 'close');
  const acknowledged = Number(said.split('\n').findLast((line, _, all) => line !== '' && line !== all.at(-1)));
  const store = openSqliteStore(path, { audit: { key, now: Date.now } });
  assert.ok(acknowledged > 40, said);
  assert.ok(store.audit.head.seq >= acknowledged, `${store.audit.head.seq} of ${acknowledged}`);
  assert.equal(store.audit.head.seq % 2, 1, 'what was committed together is there together');
  assert.equal(parseLine(store.audit.read(acknowledged - 1, 0, 1)[0] ?? '')?.seq, acknowledged);
  assert.deepEqual((await store.audit.check()).problems, []);
  store.close();
  rmSync(directory, { recursive: true });
});
