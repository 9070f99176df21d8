import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentOf } from '../src/index.ts';

test('an object is known by its identity', () => {
  const recent = new RecentOf<readonly string[], number>();
  const list = ['a'];
  recent.keep(list, 1);
  assert.equal(recent.get(list), 1);
  assert.equal(recent.get(['a']), undefined);
});

test('the 64 that came last are known', () => {
  const recent = new RecentOf<object, number>();
  const keys = Array.from({ length: 200 }, () => ({}));
  for (const [at, key] of keys.entries()) {
    recent.keep(key, at);
    assert.equal(recent.get(key), at);
  }
  const known = keys.map((key) => recent.get(key)).filter((value) => value !== undefined);
  assert.deepEqual(
    known,
    Array.from({ length: 64 }, (_, i) => 136 + i),
  );
});
