import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getHeapSpaceStatistics } from 'node:v8';
import { releaseStartupMemory } from '../src/index.ts';

test('the young generation is small again', () => {
  releaseStartupMemory();
  const young = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space');
  assert.ok((young?.space_size ?? 0) <= 4 * 1024 * 1024, `${young?.space_size} bytes`);
  assert.equal((globalThis as { gc?: unknown }).gc, undefined);
});
