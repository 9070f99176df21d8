import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createManualClock } from '@moat/testkit';
import { createDeadline, orAborted } from '../../src/plane/deadline.ts';

test('what takes too long ends by its code, and by the reason of whoever gave up before', async () => {
  const clock = createManualClock();
  using late = createDeadline(clock, 1_000, new AbortController().signal);
  const waiting = orAborted(new Promise(() => undefined), late.signal);
  clock.advance(1_000);
  await assert.rejects(waiting, { code: 'PATH_TIMEOUT' });
  const parent = new AbortController();
  using given = createDeadline(clock, 1_000, parent.signal);
  const reason = new Error('gone');
  parent.abort(reason);
  await assert.rejects(orAborted(new Promise(() => undefined), given.signal), reason);
});
