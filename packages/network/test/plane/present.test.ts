import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTime, type ContractView, type Place } from '@moat/contract';
import { presentBeside } from '../../src/plane/present.ts';

const NOW = Date.parse('2026-11-21T12:00:00Z');

interface Shown {
  readonly name: string;
  readonly key: string;
  /** Milliseconds before now at which its claim was witnessed; else the owners gave it. */
  readonly claimedMs?: number;
}

function present(shown: readonly Shown[], ownKey = 'own'): readonly string[] {
  const places = shown.map(({ name, key, claimedMs }) => ({
    name,
    peer: `peer-${name}`,
    wireguard: key,
    untilMs: Infinity,
    state: claimedMs === undefined ? 'pinned' : 'claimed',
    ...(claimedMs === undefined ? {} : { claim: { witness: { time: formatTime(NOW - claimedMs) } } }),
  })) as unknown as Place[];
  const members = shown.map(({ name, key, claimedMs }) =>
    claimedMs === undefined ? { name, wireguard: key } : { name },
  );
  const view = { contract: { members, network: {} }, places: new Map(places.map((place) => [place.name, place])) };
  const own = { name: 'self' } as Place;
  return [...presentBeside(view as unknown as ContractView, own, ownKey, NOW).keys()];
}

test('a key that the owners gave a member is not taken by one that claims it, wherever that stands', () => {
  const web = { name: 'web', key: 'k' };
  assert.deepEqual(present([{ name: 'mallory', key: 'k', claimedMs: 10_000 }, web]), ['web']);
  assert.deepEqual(present([web, { name: 'mallory', key: 'k', claimedMs: 10_000 }]), ['web']);
});

test('of two that claimed one key the first has it: the other learned it from there', () => {
  const web = { name: 'web', key: 'k', claimedMs: 20_000 };
  assert.deepEqual(present([{ name: 'mallory', key: 'k', claimedMs: 10_000 }, web]), ['web']);
});

test("nobody who shows this member's own key is its peer, and the others stay in order", () => {
  const others = [
    { name: 'b', key: 'b', claimedMs: 1000 },
    { name: 'a', key: 'a' },
  ];
  assert.deepEqual(present([{ name: 'mallory', key: 'own' }, ...others]), ['b', 'a']);
});
