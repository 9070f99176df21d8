import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createManualClock } from '@moat/testkit';
import type { OverlayConnection } from '../src/connection.ts';
import { SecondTries } from '../src/second-tries.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what was lost is compared again, ever later', async () => {
  const clock = createManualClock(0);
  const closing = new AbortController();
  let connection: OverlayConnection | undefined = { peer: 'bob', closed: closing.signal } as OverlayConnection;
  const compared: number[] = [];
  const again = new SecondTries({
    clock,
    connectionTo: () => connection,
    compare: async () => void compared.push(clock.now()),
  });
  for (let second = 0; second < 170; second++) {
    // News is lost all the time; one wait for all of it.
    void again.add('bob');
    void again.add('bob');
    clock.advance(1000);
    await turn();
  }
  assert.deepEqual(
    compared.map((at, i) => at - (compared[i - 1] ?? 0)),
    [1000, 2000, 8000, 30_000, 60_000, 60_000],
  );

  clock.advance(600_000);
  void again.add('bob');
  clock.advance(500);
  await turn();
  assert.equal(compared.length, 7, 'they count anew after a while');

  void again.add('bob');
  connection = undefined;
  closing.abort();
  await turn();
  assert.equal(compared.length, 7, 'a new connection compares by itself');
});
