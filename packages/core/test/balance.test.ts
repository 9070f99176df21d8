import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { Balancer } from '../src/index.ts';

/** Deterministic chance (mulberry32), so that a failing share can be replayed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Many keys, and turns that end when told to. */
function inTurns(): { balancer: Balancer<string>; keys: string[]; endTurn: () => void } {
  let turn = 0;
  const balancer = new Balancer<string>({ now: () => 0, random: seeded(2), turn: () => turn });
  const keys = Array.from({ length: 100 }, (_, i) => `k${i}`);
  return { balancer, keys, endTurn: () => void (turn += 1) };
}

function setup(seed = 1): { balancer: Balancer<string>; step: (ms: number) => void } {
  let now = 1_000;
  return {
    balancer: new Balancer<string>({ now: () => now, random: seeded(seed) }, { halfLifeMs: 1_000 }),
    step: (ms) => {
      now += ms;
    },
  };
}

suite('balancer', () => {
  test('has nothing to pick from nothing', () => {
    const { balancer } = setup();
    assert.equal(balancer.pick([]), undefined);
    assert.equal(
      balancer.pick(['a', 'b'], () => false),
      undefined,
    );
  });

  test('of many, one is picked four times in a turn, and turns spread over all', () => {
    const { balancer, keys, endTurn } = inTurns();
    const counts = new Map<string, number>();
    for (let turn = 0; turn < 5_000; turn++, endTurn()) {
      const picked = Array.from({ length: 4 }, () => {
        const key = balancer.pick(keys) ?? '';
        balancer.begin(key);
        return key;
      });
      assert.equal(new Set(picked).size, 1);
      const [first = ''] = picked;
      counts.set(first, (counts.get(first) ?? 0) + 1);
      for (const key of picked) balancer.end(key);
    }
    assert.equal(counts.size, 100);
    for (const [key, count] of counts) assert.ok(count > 20 && count < 90, `${key} had ${count} of 5,000 turns`);
    const runs = Array.from({ length: 40 }, () => balancer.pick(keys));
    assert.ok(new Set(runs).size >= 8, 'four in a row of ten keys');
  });

  test('a key is left within its turn once it is unhealthy, unusable, gone or clearly more loaded', () => {
    const leave: readonly ((balancer: Balancer<string>, key: string) => void)[] = [
      (balancer, key) => balancer.failure(key),
      (balancer, key) => balancer.setChecked(key, false),
      (balancer, key) => {
        for (let i = 0; i < 5; i++) balancer.begin(key);
      },
    ];
    for (const worsen of leave) {
      const { balancer, keys } = inTurns();
      const key = balancer.pick(keys) as string;
      worsen(balancer, key);
      assert.notEqual(balancer.pick(keys), key);
    }
    const { balancer, keys } = inTurns();
    const key = balancer.pick(keys) as string;
    assert.notEqual(
      balancer.pick(keys, (other) => other !== key),
      key,
    );
    const again = balancer.pick(keys) as string;
    const without = keys.filter((other) => other !== again);
    for (let i = 0; i < 3; i++) assert.notEqual(balancer.pick(without), again);
  });

  test('of few keys none is preferred', () => {
    const few = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    const [turns, alone] = [inTurns().balancer, new Balancer<string>({ now: () => 0, random: seeded(2) })];
    for (let i = 0; i < 100; i++) assert.equal(turns.pick(few), alone.pick(few));
  });

  test('picks only what is usable, and looks at two of many', () => {
    const { balancer } = setup();
    const keys = Array.from({ length: 100 }, (_, i) => `k${i}`);
    let looked = 0;
    const counts = new Map<string, number>();
    for (let i = 0; i < 20_000; i++) {
      const key = balancer.pick(keys, () => (looked += 1) > 0) ?? '';
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    assert.equal(looked, 40_000);
    assert.ok(
      [...counts.values()].every((count) => count > 100 && count < 300),
      'each about as often',
    );
    balancer.failure('k7');
    for (let i = 0; i < 200; i++)
      assert.equal(
        balancer.pick(keys, (key) => key === 'k7' || key === 'k8'),
        'k8',
      );
    assert.equal(
      balancer.pick(keys, (key) => key === 'k7'),
      'k7',
      'none is healthy',
    );
  });

  test('picks the only one, even when it failed', () => {
    const { balancer } = setup();
    balancer.failure('a');
    assert.equal(balancer.pick(['a']), 'a');
  });

  test('spreads equal instances about equally', () => {
    const { balancer } = setup();
    const keys = ['a', 'b', 'c', 'd'];
    const counts = new Map<string, number>();
    for (let i = 0; i < 4_000; i++) {
      const key = balancer.pick(keys) ?? '';
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    for (const key of keys) {
      const count = counts.get(key) ?? 0;
      assert.ok(count > 850 && count < 1_150, `${key} got ${count} of 4000`);
    }
  });

  test('of two it takes the less loaded', () => {
    const { balancer } = setup();
    balancer.begin('a');
    for (let i = 0; i < 20; i++) assert.equal(balancer.pick(['a', 'b']), 'b');
    balancer.end('a');
    assert.equal(balancer.inFlight('a'), 0);
  });

  test('avoids one that failed while another is healthy, and comes back when the failure fades', () => {
    const { balancer, step } = setup();
    balancer.failure('a');
    assert.equal(balancer.healthy('a'), false);
    for (let i = 0; i < 100; i++) assert.equal(balancer.pick(['a', 'b']), 'b');
    step(1_001);
    assert.equal(balancer.healthy('a'), true);
    step(60_000);
    const picked = new Set(Array.from({ length: 100 }, () => balancer.pick(['a', 'b'])));
    assert.deepEqual([...picked].sort(), ['a', 'b']);
  });

  test('an answer forgives at once', () => {
    const { balancer } = setup();
    for (let i = 0; i < 5; i++) balancer.failure('a');
    balancer.success('a');
    assert.equal(balancer.healthy('a'), true);
    assert.equal(balancer.load('a'), 0);
  });

  test('prefers the least bad when all failed', () => {
    const { balancer } = setup();
    balancer.failure('a');
    balancer.failure('a');
    balancer.failure('b');
    for (let i = 0; i < 20; i++) assert.equal(balancer.pick(['a', 'b']), 'b');
  });

  test('failures add up only to the bound', () => {
    const { balancer, step } = setup();
    for (let i = 0; i < 1_000; i++) balancer.failure('a');
    step(4_001);
    assert.equal(balancer.healthy('a'), true, '8 halved four times is 0.5');
  });

  test('an active check outweighs passive memory', () => {
    const { balancer } = setup();
    balancer.setChecked('a', false);
    assert.equal(balancer.healthy('a'), false);
    balancer.setChecked('a', true);
    assert.equal(balancer.healthy('a'), true);
  });

  test('retain forgets the others; ends of forgotten uses are harmless', () => {
    const { balancer } = setup();
    balancer.begin('a');
    balancer.begin('b');
    balancer.retain(['b']);
    balancer.end('a');
    assert.equal(balancer.inFlight('a'), 0);
    assert.equal(balancer.inFlight('b'), 1);
  });

  test('property: a pick is one of the keys and healthy if any is; nothing in flight is negative', () => {
    const act = fc.tuple(
      fc.constantFrom('begin' as const, 'end' as const, 'success' as const, 'failure' as const),
      fc.constantFrom('a', 'b', 'c'),
    );
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), fc.subarray(['a', 'b', 'c'], { minLength: 1 }), (acts, keys) => {
        const { balancer, step } = setup(acts.length);
        for (const [verb, key] of acts) {
          balancer[verb](key);
          step(37);
        }
        const picked = balancer.pick(keys);
        assert.ok(picked !== undefined && keys.includes(picked));
        if (keys.some((key) => balancer.healthy(key))) assert.ok(balancer.healthy(picked));
        for (const key of keys) assert.ok(balancer.inFlight(key) >= 0);
      }),
    );
  });
});
