import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Bag, type Bagged } from '@moat/core';

test('a bag holds what a set would', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(15)), (steps) => {
      const items = Array.from({ length: 16 }, (): Bagged => ({ place: -1 }));
      const bag = new Bag<Bagged>();
      const model = new Set<Bagged>();
      for (const step of steps) {
        const item = items[step];
        assert.ok(item);
        if (model.delete(item)) assert.equal(bag.delete(item), true);
        else {
          assert.equal(bag.delete(item), false);
          bag.add(item);
          model.add(item);
        }
        assert.equal(bag.size, model.size);
      }
      assert.deepEqual(new Set(bag.list()), model);
    }),
  );
});

test('an item of another bag is not taken out of this one', () => {
  const [mine, other] = [new Bag<Bagged>(), new Bag<Bagged>()];
  const item = { place: -1 };
  mine.add({ place: -1 });
  other.add(item);
  assert.equal(mine.delete(item), false);
  assert.equal(other.delete(item), true);
});

test('a bag may change while its list is walked', () => {
  const bag = new Bag<Bagged>();
  for (let i = 0; i < 5; i++) bag.add({ place: -1 });
  for (const item of bag.list()) bag.delete(item);
  assert.equal(bag.size, 0);
});
