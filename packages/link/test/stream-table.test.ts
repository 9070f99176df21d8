import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Stream } from '../src/stream.ts';
import { StreamTable } from '../src/stream-table.ts';

/** Ids that share slots: neighbours, both sides', and equal ones modulo the table's size. */
const anId = fc.oneof(
  fc.integer({ min: 1, max: 40 }),
  fc.integer({ min: 0, max: 12 }).map((n) => 7 + n * 128),
  fc.constantFrom(2 ** 32 - 1, 2 ** 32 - 2, 2 ** 31, 2 ** 31 - 1),
);

test('the table finds what a map would', () => {
  fc.assert(
    fc.property(fc.array(anId, { maxLength: 300 }), (ids) => {
      const table = new StreamTable();
      const model = new Map<number, Stream>();
      for (const id of ids) {
        if (model.delete(id)) assert.equal(table.delete(id), true);
        else {
          const stream = { id } as Stream;
          assert.equal(table.delete(id), false);
          table.add(stream);
          model.set(id, stream);
        }
        assert.equal(table.size, model.size);
        for (const known of ids) assert.equal(table.get(known), model.get(known));
      }
      assert.deepEqual(new Set(table.list()), new Set(model.values()));
    }),
    { numRuns: 200 },
  );
});

test('thousands of streams at once', () => {
  const table = new StreamTable();
  for (let id = 1; id < 20_000; id += 2) table.add({ id } as Stream);
  assert.equal(table.size, 10_000);
  for (let id = 1; id < 20_000; id += 4) table.delete(id);
  assert.equal(table.list().length, 5_000);
  assert.equal(table.get(3)?.id, 3);
  assert.equal(table.get(5), undefined);
});
