import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Breaker } from '../../src/rules/breaker.ts';

test('rests after so many failures in a row, and one request judges it afterwards', () => {
  let now = 0;
  const breaker = new Breaker<string>({ now: () => now }, { failures: 2, openMs: 1_000 });
  breaker.failure('a');
  breaker.success('a');
  breaker.failure('a');
  assert.equal(breaker.isOpen('a'), false, 'an answer in between forgives');
  breaker.failure('a');
  assert.equal(breaker.isOpen('a'), true);
  assert.equal(breaker.isOpen('b'), false);
  now = 1_000;
  assert.equal(breaker.isOpen('a'), false);
  breaker.begin('a');
  assert.equal(breaker.isOpen('a'), true, 'the others wait for the one that judges');
  breaker.failure('a');
  now = 1_999;
  assert.equal(breaker.isOpen('a'), true, 'one failure is enough to rest again');
  now = 2_000;
  breaker.begin('a');
  breaker.success('a');
  assert.equal(breaker.isOpen('a'), false);
});

test('forgets members that are gone', () => {
  const breaker = new Breaker<string>({ now: () => 0 }, { failures: 1, openMs: 1_000 });
  breaker.failure('a');
  breaker.failure('b');
  breaker.retain(['b']);
  assert.deepEqual([breaker.isOpen('a'), breaker.isOpen('b')], [false, true]);
});
