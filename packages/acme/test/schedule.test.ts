/** When certificates are renewed and failures tried again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askAgainAfterMs, renewAfterLife, renewInWindow, retryAfter } from '../src/schedule.ts';

const DAY_MS = 24 * 3_600_000;
const life = { notBeforeMs: 0, notAfterMs: 90 * DAY_MS };

test('renewals are spread over a twentieth of the life, up to two thirds of it', () => {
  assert.equal(renewAfterLife(life, 0), 60 * DAY_MS);
  assert.equal(renewAfterLife(life, 1), 55.5 * DAY_MS);
});

test('a certificate of six days is renewed at its half', () => {
  assert.equal(renewAfterLife({ notBeforeMs: 0, notAfterMs: 6 * DAY_MS }, 0), 3 * DAY_MS);
});

test('a moment in the window of the authority is chosen once', () => {
  const held = { ...life, obtainedMs: 0 };
  const window = { startMs: 40 * DAY_MS, endMs: 50 * DAY_MS };
  assert.equal(renewInWindow(window, held, 60 * DAY_MS, 0.5), 45 * DAY_MS);
  assert.equal(renewInWindow(window, held, 42 * DAY_MS, 0.5), 42 * DAY_MS);
  const moved = { startMs: 1 * DAY_MS, endMs: 2 * DAY_MS };
  assert.equal(renewInWindow(moved, held, 42 * DAY_MS, 0), 1 * DAY_MS, 'an early window is an early renewal');
  const late = { startMs: 89 * DAY_MS, endMs: 95 * DAY_MS };
  assert.ok(renewInWindow(late, held, 0, 1) < life.notAfterMs, 'never after the end');
  const past = { startMs: -2 * DAY_MS, endMs: -DAY_MS };
  assert.equal(renewInWindow(past, held, 0, 0.5), 3_600_000, 'nor at once, again and again');
});

test('what the authority says of the next question is bounded', () => {
  assert.equal(askAgainAfterMs(undefined), DAY_MS / 4);
  assert.equal(askAgainAfterMs(1), 60_000);
  assert.equal(askAgainAfterMs(30 * DAY_MS), DAY_MS);
});

test('tries are doubled up to a day, an outage is looked at every hour', () => {
  const tries = [1, 2, 3, 20, 1_000].map(
    (count) => retryAfter('ACME_CHALLENGE_FAILED', count, undefined, 0.5) / 60_000,
  );
  assert.deepEqual(tries, [5, 10, 20, 1_440, 1_440]);
  const hour = [1, 2, 3, 4, 5].map((count) => retryAfter('ACME_CHALLENGE_FAILED', count, undefined, 0) / 60_000);
  assert.ok(
    hour.reduce((sum, minutes) => sum + minutes, 0) > 60,
    'five failures take longer than an hour, also at the least',
  );
  assert.equal(retryAfter('ACME_UNREACHABLE', 30, undefined, 0.5), 3_600_000);
});

test('Retry-After is never undercut', () => {
  for (const chance of [0, 0.5, 1]) assert.ok(retryAfter('ACME_LIMITED', 1, 3 * DAY_MS, chance) >= 3 * DAY_MS);
});
