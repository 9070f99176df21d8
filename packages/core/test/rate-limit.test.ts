import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RateLimit } from '@moat/core';

test('gives so many at once, and then one after the other', () => {
  let now = 0;
  const limit = new RateLimit({ now: () => now }, { count: 4, perMs: 1_000 });
  for (let i = 0; i < 4; i++) assert.equal(limit.take('a'), 0);
  assert.equal(limit.take('a'), 250);
  assert.equal(limit.take('b'), 0, 'keys are apart');
  now = 249;
  assert.equal(limit.take('a'), 1);
  now = 250;
  assert.equal(limit.take('a'), 0);
  assert.equal(limit.take('a'), 250, 'a refusal costs nothing, and gives nothing');
  now = 10_000;
  for (let i = 0; i < 4; i++) assert.equal(limit.take('a'), 0);
  assert.ok(limit.take('a') > 0, 'rest does not add up beyond the count');
});

test('never gives more than the count and what time brought, and says truly when to come back', () => {
  const steps = fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 200 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.constantFrom(1_000, 60_000), steps, (count, perMs, waits) => {
      let now = 0;
      const limit = new RateLimit({ now: () => now }, { count, perMs });
      const given: number[] = [];
      for (const wait of waits) {
        now += wait;
        const waitMs = limit.take('k');
        if (waitMs === 0) given.push(now);
        else {
          now += waitMs;
          assert.equal(limit.take('k'), 0);
          given.push(now);
        }
      }
      for (const from of given) {
        const within = given.filter((at) => at >= from && at < from + perMs).length;
        assert.ok(within <= 2 * count, `${within} of ${count}`);
      }
    }),
  );
});

test('remembers so many keys and no more', () => {
  const limit = new RateLimit({ now: () => 0 }, { count: 1, perMs: 1_000, maxKeys: 2 });
  assert.equal(limit.take('a'), 0);
  assert.equal(limit.take('b'), 0);
  assert.ok(limit.take('a') > 0);
  assert.equal(limit.take('c'), 0);
  assert.equal(limit.take('a'), 0, 'the longest unused was dropped');
});
