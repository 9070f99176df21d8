import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BoundedQueue, MoatError, errorCode, isMoatError, sleep, systemClock } from '../src/index.ts';

test('BoundedQueue keeps order and refuses beyond its capacity', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 400 }), fc.integer({ min: 1, max: 90 }), (pushes, capacity) => {
      const queue = new BoundedQueue<number>(capacity);
      const model: number[] = [];
      pushes.forEach((push, i) => {
        if (!push) assert.equal(queue.shift(), model.shift());
        else if (model.length < capacity) queue.push(model[model.push(i) - 1] ?? -1);
        else assert.throws(() => queue.push(i), { code: 'QUEUE_FULL' });
        assert.equal(queue.length, model.length);
      });
    }),
  );
});

test('MoatError carries code, reason, remedy and cause', () => {
  const cause = new Error('underneath');
  const error = new MoatError('NAME_HELD', 'the name is held', {
    cause,
    reason: 'claimed first',
    next: ['moat names'],
  });
  assert.equal(error.cause, cause);
  assert.deepEqual(error.toBody(), {
    code: 'NAME_HELD',
    message: 'the name is held',
    cause: 'claimed first',
    next: ['moat names'],
    retryable: false,
  });
  assert.ok(isMoatError(error, 'NAME_HELD'));
  assert.ok(!isMoatError(error, 'OTHER'));
  assert.ok(!isMoatError(cause));
  assert.equal(errorCode(error), 'NAME_HELD');
  assert.equal(errorCode(Object.assign(new Error('x'), { code: 'ECONNREFUSED' })), 'ECONNREFUSED');
  assert.equal(errorCode('x'), 'INTERNAL');
});

test('sleep() ends with the signal', async () => {
  const controller = new AbortController();
  const waiting = sleep(systemClock, 60_000, controller.signal);
  controller.abort(new MoatError('INTERNAL', 'stop'));
  await assert.rejects(waiting, { code: 'INTERNAL' });
  await assert.rejects(sleep(systemClock, 1, controller.signal), { code: 'INTERNAL' });
  await sleep(systemClock, 1);
});
