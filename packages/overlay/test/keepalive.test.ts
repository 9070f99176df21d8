import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { Keepalive } from '../src/keepalive.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * A connection on which something came whenever `hears` says so, and that answers no question before `answersAt`. Its owner
 * is busy with something else for `stallMs` once it has asked.
 */
function begin(
  hears: (ms: number) => boolean,
  answersAt = Infinity,
  stallMs = 0,
): { closedAt: () => Promise<number | undefined> } {
  const clock = createManualClock(0);
  const closed = new AbortController();
  let heardAt = 0;
  let now = 0;
  let closedAt: number | undefined;
  const connection = {
    closed: closed.signal,
    direction: 'outbound',
    admitted: true,
    raw: {
      streams: [],
      muxer: {
        heardAt: () => heardAt,
        ping: ({ signal }: { signal: AbortSignal }) =>
          new Promise<void>((resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason as Error));
            clock.after(answersAt, resolve);
          }),
      },
    },
  };
  const keepalive = new Keepalive(
    {
      logger: silentLogger,
      clock,
      probation: { close: () => (closedAt ??= now) },
      hasPlace: () => false,
      onAlive: () => undefined,
    } as never,
    { keepAliveMs: 60_000, placeAliveMs: 60_000 },
  );
  return {
    closedAt: async () => {
      const over = new AbortController();
      void keepalive.check(connection as never).then(() => over.abort());
      clock.advance(stallMs);
      for (now = stallMs; !over.signal.aborted && now < 30_000; now += 100) {
        if (hears(now)) heardAt = now;
        clock.advance(100);
        await turn();
        await turn();
      }
      return closedAt;
    },
  };
}

test('who says nothing for three seconds is dead', async () => {
  const at = (await begin(() => false).closedAt()) ?? 0;
  assert.ok(at >= 2800 && at <= 3200, `${at} ms`);
});

test('who says something else meanwhile is busy, and has ten seconds for the answer', async () => {
  const isBusy = (ms: number): boolean => ms % 2000 === 0;
  assert.equal(await begin(isBusy, 7000).closedAt(), undefined);
  const at = (await begin(isBusy).closedAt()) ?? 0;
  assert.ok(at >= 9800 && at <= 10_200, `${at} ms`);
});

test('the silence counts from the last word', async () => {
  const at = (await begin((ms) => ms === 1000).closedAt()) ?? 0;
  assert.ok(at >= 3800 && at <= 4600, `${at} ms`);
});

test('whoever was busy itself has not listened', async () => {
  assert.equal(await begin(() => false, 8000, 6000).closedAt(), undefined);
  const at = (await begin(() => false, Infinity, 6000).closedAt()) ?? 0;
  assert.ok(at >= 8300 && at <= 8700, `${at} ms`);
});
