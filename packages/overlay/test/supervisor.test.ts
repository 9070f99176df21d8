import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, type Clock } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { Supervisor, type Goal } from '../src/supervisor.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const turns = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await turn();
};

interface World {
  readonly goal: Goal;
  readonly attempts: string[];
  readonly up: Set<string>;
  readonly met: Set<string>;
}

function world(candidates: readonly string[], want: number): World {
  const attempts: string[] = [];
  const up = new Set<string>();
  const met = new Set<string>();
  const goal: Goal = {
    key: 'keepers',
    candidates,
    want,
    isMet: (peer) => met.has(peer),
    attempt: async (peer) => {
      attempts.push(peer);
      if (!up.has(peer)) throw new Error('away');
      met.add(peer);
    },
  };
  return { goal, attempts, up, met };
}

test('two of three are kept, the next candidate steps in for one that is away', async () => {
  const clock = createManualClock();
  const supervisor = new Supervisor({ logger: silentLogger, clock }, { minMs: 100, maxMs: 1000 });
  const { goal, attempts, up, met } = world(['a', 'b', 'c'], 2);
  for (const peer of ['a', 'b', 'c']) up.add(peer);
  supervisor.start();
  supervisor.setGoals([goal]);
  await turns();
  assert.deepEqual(attempts, ['a', 'b']);
  up.delete('a');
  met.delete('a');
  supervisor.wake();
  await turns();
  // a was reached a moment ago and has to wait; c is free
  assert.deepEqual(attempts, ['a', 'b', 'c']);
  supervisor.stop();
});

test('it never gives up, and never waits longer than the cap', async () => {
  const clock = createManualClock();
  const supervisor = new Supervisor({ logger: silentLogger, clock }, { minMs: 100, maxMs: 1000 });
  const { goal, attempts, up, met } = world(['a'], 2);
  supervisor.start();
  supervisor.setGoals([goal]);
  await turns();
  for (let i = 0; i < 300; i++) {
    clock.advance(100);
    await turns();
  }
  // 30 s at ≤ 1 s each, and not in a tight loop
  assert.ok(attempts.length >= 30 && attempts.length <= 80, `${attempts.length} attempts`);
  up.add('a');
  clock.advance(1001);
  await turns();
  assert.ok(met.has('a'));
  supervisor.stop();
});

test('whoever was lost is asked every two seconds at first; reached for one goal, it is asked for the others at once', async () => {
  const clock = createManualClock();
  const supervisor = new Supervisor({ logger: silentLogger, clock }, { minMs: 500, maxMs: 20_000 });
  const [one, other] = [world(['a'], 1), world(['a'], 1)];
  supervisor.start();
  supervisor.setGoals([one.goal, { ...other.goal, key: 'other' }]);
  await turns();
  for (let second = 0; second < 15; second++) {
    clock.advance(1_000);
    await turns();
  }
  for (const { attempts } of [one, other]) {
    assert.ok(attempts.length >= 7 && attempts.length <= 18, `${attempts.length} attempts in 15 s`);
  }
  for (const { up } of [one, other]) up.add('a');
  // Until the first of the two is due; the second follows without a wait of its own.
  for (let step = 0; step < 250 && one.met.size + other.met.size === 0; step++) {
    clock.advance(10);
    await turns();
  }
  await turns();
  assert.equal(one.met.size + other.met.size, 2, 'both in one moment');
  supervisor.stop();
});

test('forgive tries at once; a goal that is gone is tried no more', async () => {
  const clock = createManualClock();
  const supervisor = new Supervisor({ logger: silentLogger, clock }, { minMs: 60_000, maxMs: 60_000 });
  const { goal, attempts } = world(['a'], 1);
  supervisor.start();
  supervisor.setGoals([goal]);
  await turns();
  assert.equal(attempts.length, 1);
  supervisor.forgive('a');
  await turns();
  assert.equal(attempts.length, 2);
  supervisor.setGoals([]);
  clock.advance(120_000);
  await turns();
  assert.equal(attempts.length, 2);
  supervisor.stop();
});

test('a peer that lets us in and closes at once is not dialed in a storm', async () => {
  const clock = createManualClock();
  const supervisor = new Supervisor({ logger: silentLogger, clock }, { minMs: 100, maxMs: 10_000 });
  const { goal, attempts, up, met } = world(['a'], 1);
  up.add('a');
  supervisor.start();
  supervisor.setGoals([goal]);
  const flap = async (ms: number): Promise<number> => {
    const before = attempts.length;
    for (let i = 0; i < ms / 100; i++) {
      await turns();
      met.delete('a');
      supervisor.wake();
      clock.advance(100);
    }
    return attempts.length - before;
  };
  const many = await flap(120_000);
  assert.ok(many <= 40, `${many} attempts`);
  clock.advance(10_000);
  await turns();
  assert.ok(met.has('a'));
  // it stood for long: the next loss is a new one
  clock.advance(60_000);
  const few = await flap(500);
  assert.ok(few >= 2, `${few} attempts`);
  supervisor.stop();
});

test('a flood of announcements does not make a storm of dials', async () => {
  const clock = createManualClock();
  const supervisor = new Supervisor({ logger: silentLogger, clock }, { minMs: 60_000, maxMs: 60_000 });
  const { goal, attempts } = world(['a'], 1);
  supervisor.start();
  supervisor.setGoals([goal]);
  for (let i = 0; i < 100; i++) {
    supervisor.forgive('a');
    await turns();
    clock.advance(100);
  }
  assert.ok(attempts.length <= 12, `${attempts.length} attempts`);
  supervisor.stop();
});

test('a clock that is set back by an hour does not end the redialing', async () => {
  const manual = createManualClock();
  let setBackMs = 0;
  const clock: Clock = { now: () => manual.now() - setBackMs, after: (ms, callback) => manual.after(ms, callback) };
  const supervisor = new Supervisor({ logger: silentLogger, clock }, { minMs: 1000, maxMs: 1000 });
  const { goal, attempts } = world(['a'], 1);
  supervisor.start();
  supervisor.setGoals([goal]);
  await turns();
  setBackMs = 3_600_000;
  supervisor.wake();
  for (let i = 0; i < 30; i++) {
    await turns();
    manual.advance(100);
  }
  assert.ok(attempts.length >= 3, `${attempts.length} attempts`);
  supervisor.stop();
});

test('a stopped one starts nothing', async () => {
  const clock = createManualClock();
  const supervisor = new Supervisor({ logger: silentLogger, clock }, { minMs: 10, maxMs: 10 });
  const { goal, attempts } = world(['a'], 1);
  supervisor.setGoals([goal]);
  supervisor.wake();
  await turns();
  assert.equal(attempts.length, 0);
  supervisor.start();
  supervisor.stop();
  await turns();
  assert.equal(attempts.length, 0);
});
