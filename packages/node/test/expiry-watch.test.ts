import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createManualClock, type ManualClock } from '@moat/testkit';
import { ExpiryWatch, type Judged } from '../src/deployments/expiry-watch.ts';

const HOUR = 3_600_000;

/** A watch over one deployment, whose clock can be set while its timers run on. */
function begin(expiries: readonly number[]): {
  readonly clock: ManualClock;
  readonly due: number[];
  readonly watch: ExpiryWatch;
  readonly set: (byMs: number) => void;
  readonly judge: () => void;
} {
  const clock = createManualClock(0);
  let offset = 0;
  const now = (): number => clock.now() + offset;
  const due: number[] = [];
  const watch = new ExpiryWatch({
    time: { now, after: (delayMs, act) => clock.after(delayMs, act) },
    onDue: () => {
      due.push(now());
      judge();
    },
  });
  const nextExpiry: Judged['view']['nextExpiry'] = (after) => expiries.find((timeMs) => timeMs > after) ?? null;
  const judge = (): void => watch.watch({ id: 'a', view: { nextExpiry }, builtAt: now() });
  judge();
  return { clock, due, watch, judge, set: (byMs) => void (offset += byMs) };
}

test('each expiry is told when it comes, and nothing else', () => {
  const { clock, due } = begin([HOUR, 3 * HOUR]);
  clock.advance(24 * HOUR);
  assert.deepEqual(due, [HOUR, 3 * HOUR]);
});

test('what has nothing to expire has no timer', () => {
  assert.equal(begin([]).clock.pending, 0);
});

test('an expiry that came while the machine slept is told within half a minute', () => {
  const { clock, due, set } = begin([HOUR]);
  clock.advance(60_000);
  set(2 * HOUR);
  clock.advance(30_000);
  assert.equal(due.length, 1);
});

test('a clock that had run ahead and is set back gives what is not over back', () => {
  const { clock, due, set, judge } = begin([HOUR]);
  set(10 * HOUR);
  judge();
  clock.advance(HOUR / 2);
  assert.equal(due.length, 0);
  set(-10 * HOUR);
  clock.advance(30_000);
  assert.equal(due.length, 1);
  clock.advance(HOUR);
  assert.equal(due.length, 2);
});

test('a stopped watch tells nothing', () => {
  const { clock, due, watch } = begin([HOUR]);
  watch.stop();
  clock.advance(24 * HOUR);
  assert.deepEqual([due, clock.pending], [[], 0]);
});
