/** The audit log as a chain in the store: whatever was done to it behind the gateway's back is found. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { parseLine } from '../../src/audit/check.ts';
import { chainLine, hashOfLine, NO_LINE } from '../../src/audit/chain.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { GatewayStore } from '../../src/store/store.ts';
import { NOW } from '../shop.ts';

const KEY = new Uint8Array(32).fill(7);

class Place implements Disposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'moat-audit-'));
  readonly path: string = join(this.directory, 'gateway.db');
  now: number = NOW;

  open(key: Uint8Array = KEY): GatewayStore & Disposable {
    const store = openSqliteStore(this.path, { audit: { key, now: () => this.now } });
    return Object.assign(store, { [Symbol.dispose]: () => store.close() });
  }

  /** What somebody with the file and without the key does to it. */
  tamper(sql: string): void {
    const database = new DatabaseSync(this.path);
    database.exec(sql);
    database.close();
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true });
  }
}

function write(store: GatewayStore, count: number): void {
  for (let i = 0; i < count; i++) {
    store.commit({ audit: [{ action: 'name.claimed', actor: 'peer', subject: `n${i}.localhost`, details: { i } }] });
  }
}

async function problemsOf(place: Place): Promise<string[]> {
  using store = place.open();
  return (await store.audit.check()).problems.map(({ seq, message }) => `${seq}: ${message}`);
}

test('lines are numbered, chained and kept; nothing is found in what nobody touched', async () => {
  using place = new Place();
  {
    using store = place.open();
    write(store, 3);
    assert.deepEqual([store.audit.head.seq, store.audit.lines], [4, 4]);
  }
  using store = place.open();
  const lines = store.audit.read(0, 0, 10).map((text) => parseLine(text) ?? assert.fail());
  assert.deepEqual(
    lines.map(({ seq, action }) => [seq, action]),
    [
      [1, 'audit.begun'],
      [2, 'name.claimed'],
      [3, 'name.claimed'],
      [4, 'name.claimed'],
    ],
  );
  const [first, second] = lines;
  assert.equal(first?.previous, NO_LINE.hash);
  assert.equal(second?.previous, first?.hash);
  assert.deepEqual((await store.audit.check()).problems, []);
  assert.deepEqual(store.audit.read(2, 0, 1).length, 1);
  assert.deepEqual(store.audit.read(0, NOW + 1, 10), []);
});

test('a line says what it says in one byte form', () => {
  const event = { action: 'name.claimed', actor: 'p', subject: 's', details: { b: 1, a: 'x' } } as const;
  const { hash, ...body } = chainLine(NO_LINE, event, NOW);
  assert.equal(hash, hashOfLine({ ...body, details: { a: 'x', b: 1 } }), 'the order of members does not count');
  assert.notEqual(hash, hashOfLine({ ...body, time: new Date(NOW + 1).toISOString() }));
});

for (const [what, sql, found] of [
  ['an edited line', `UPDATE audit SET line = replace(line, 'n1.', 'x1.') WHERE seq = 3`, /^3: it was changed/],
  ['a dropped line', 'DELETE FROM audit WHERE seq = 3', /^3: 1 lines are missing/],
  [
    'lines in another order',
    'UPDATE audit SET seq = 100 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 100',
    /^3: 1 lines are missing/,
  ],
  ['a tail that was cut off', 'DELETE FROM audit WHERE seq > 4', /^5: 2 lines are missing/],
  [
    'a tail cut off together with the head that told of it',
    `DELETE FROM audit WHERE seq > 4; UPDATE audit_ends SET head_seq = 4,
     head_hash = (SELECT json_extract(line, '$.hash') FROM audit WHERE seq = 4)`,
    /the gateway found the log broken/,
  ],
  ['a log that was emptied', 'DELETE FROM audit; DELETE FROM audit_ends', /the gateway found the log broken/],
  ['lines that are no lines', `UPDATE audit SET line = '[]' WHERE seq = 2`, /^2: the line cannot be read/],
  [
    'a beginning that was cut off as if it had been pruned',
    `DELETE FROM audit WHERE seq < 3; UPDATE audit_ends SET anchor_seq = 2,
     anchor_hash = (SELECT json_extract(line, '$.previous') FROM audit WHERE seq = 3)`,
    /the gateway found the log broken/,
  ],
] as const) {
  test(`${what} is found, now and later`, async () => {
    using place = new Place();
    {
      using store = place.open();
      write(store, 5);
    }
    place.tamper(sql);
    assert.match((await problemsOf(place)).join('\n'), new RegExp(found, 'm'));
    {
      using store = place.open();
      write(store, 5);
    }
    assert.match(
      (await problemsOf(place)).join('\n'),
      new RegExp(found, 'm'),
      'what is written later does not hide it',
    );
  });
}

test('a log that another key sealed is not believed', async () => {
  using place = new Place();
  {
    using store = place.open(new Uint8Array(32));
    write(store, 2);
  }
  assert.match((await problemsOf(place)).join('\n'), /the gateway found the log broken/);
});

test('old lines go, the rest follows from where they ended', async () => {
  using place = new Place();
  using store = place.open();
  write(store, 4);
  place.now = NOW + 1_000;
  write(store, 4);
  assert.equal(store.pruneAudit(NOW + 1, 100), 5);
  assert.equal(store.audit.anchor.seq, 5);
  assert.deepEqual((await store.audit.check()).problems, []);
  assert.equal(parseLine(store.audit.read(0, 0, 1)[0] ?? '')?.seq, 6);
  assert.equal(parseLine(store.audit.read(9, 0, 1)[0] ?? '')?.action, 'audit.pruned');
  store.pruneAudit(0, 2);
  // Two are kept, and the line that says so.
  assert.equal(store.audit.lines, 3);
  store.pruneAudit(Infinity, 0);
  assert.deepEqual((await store.audit.check()).problems, []);
  store.close();
  assert.deepEqual(await problemsOf(place), []);
});

test('what cannot be committed leaves no line, and the chain as it was', async () => {
  using place = new Place();
  using store = place.open();
  const { head } = store.audit;
  assert.throws(() => store.commit({ audit: [{ action: 'name.claimed', actor: 'p', details: { i: Number.NaN } }] }));
  assert.deepEqual(store.audit.head, head);
  write(store, 1);
  assert.deepEqual((await store.audit.check()).problems, []);
});
