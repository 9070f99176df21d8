/**
 * What a member sends and receives that does nothing: counted on its wire for ten minutes and a half, so that what happens
 * every ten minutes is in it, and extrapolated to a day.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { full } from '../e2e/machine.ts';
import { IdleWorld } from './idle-world.ts';
import { labSkip } from './internet.ts';
import { pictured } from './picture.ts';

/** Milliseconds until whoever has just met has looked for better paths often enough, and those that are measured. */
const [SETTLED_MS, MEASURED_MS] = [150_000, 630_000];
const DAY_MS = 86_400_000;
/** Bytes of IP packets in both directions. */
const MAX_BYTES_A_DAY = 2_000_000;

suite('an idle member', { skip: full ? labSkip() : 'ten minutes are measured: MOAT_TEST=full' }, () => {
  const idle = new IdleWorld();

  before(() => idle.start());
  after(() => idle[Symbol.asyncDispose]());

  test('at most 2 MB a day with one keeper, reached through one anchor, and one link', (t) =>
    pictured(idle.internet, 'idle', async () => {
      await delay(SETTLED_MS);
      const before = idle.bytes();
      const since = performance.now();
      await delay(MEASURED_MS);
      const perDay = DAY_MS / (performance.now() - since);
      let total = 0;
      for (const [socket, bytes] of idle.bytes()) {
        const spent = (bytes - (before.get(socket) ?? 0)) * perDay;
        t.diagnostic(`${socket}: ${(spent / 1e6).toFixed(2)} MB a day`);
        total += spent;
      }
      t.diagnostic(`in all ${(total / 1e6).toFixed(2)} MB a day`);
      assert.ok(total <= MAX_BYTES_A_DAY, `${total} bytes a day`);
      assert.equal(await idle.path(), 'spliced', 'the link stood all the time');
    }));
});
