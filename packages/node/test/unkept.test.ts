import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createManualClock } from '@moat/testkit';
import { Unkept } from '../src/deployments/unkept.ts';

const SHOP = 'a'.repeat(26);

test('peers are asked again until the disk takes what they tell, once in three seconds', () => {
  const clock = createManualClock();
  let isFull = true;
  let asked = 0;
  const unkept = new Unkept({
    clock,
    compare: (id) => {
      asked += 1;
      // Four peers tell it, and none of it can be kept.
      if (isFull) for (let i = 0; i < 4; i++) unkept.refused(id);
    },
  });
  unkept.refused(SHOP);
  unkept.refused(SHOP);
  clock.advance(2999);
  assert.equal(asked, 0);
  clock.advance(1);
  assert.equal(asked, 1);
  clock.advance(3000);
  assert.equal(asked, 2);
  isFull = false;
  clock.advance(3000);
  assert.equal(asked, 3);
  clock.advance(60_000);
  assert.equal(asked, 3);
  unkept.refused(SHOP);
  unkept.stop();
  clock.advance(60_000);
  assert.equal(asked, 3);
});
