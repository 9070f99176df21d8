import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noteReadBuffer } from '../src/index.ts';

test('buffers that were read do not pile up', () => {
  let most = 0;
  for (let i = 0; i < 4_096; i++) {
    const chunk = Buffer.allocUnsafeSlow(64 * 1_024);
    noteReadBuffer(chunk.length);
    if (i % 64 === 0) most = Math.max(most, process.memoryUsage().arrayBuffers);
  }
  assert.ok(most < 32 * 1_024 * 1_024, `${most >> 20} MiB`);
  assert.equal((globalThis as { gc?: unknown }).gc, undefined);
});
