import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_PROPOSALS, nextToGo, type Occupant } from '../src/owners/proposal-room.ts';

function occupant(id: string, receivedAt: number, ...signers: string[]): Occupant {
  return { id, signers, isStale: false, receivedAt };
}

test('nothing goes while there is room', () => {
  const all = Array.from({ length: MAX_PROPOSALS }, (_, i) => occupant(`p${i}`, i, 'ana'));
  assert.equal(nextToGo(all), undefined);
});

test('a stale proposal goes first', () => {
  const all = Array.from({ length: MAX_PROPOSALS + 1 }, (_, i) => occupant(`p${i}`, i, 'ana'));
  assert.equal(nextToGo([...all.slice(0, 7), { ...occupant('p7', 7, 'ben'), isStale: true }, ...all.slice(8)]), 'p7');
});

test('an owner who floods pushes out what it left itself, also by signing what others left', () => {
  const honest = [occupant('good', 0, 'ana'), occupant('shared', 1, 'mallory', 'ben')];
  const flood = Array.from({ length: MAX_PROPOSALS - 1 }, (_, i) => occupant(`bad${i}`, i + 2, 'mallory'));
  assert.equal(nextToGo([...honest, ...flood]), 'bad0');
});

test('whatever one owner does, a single proposal of each other owner stays', () => {
  const times = fc.array(fc.nat(1000), { minLength: MAX_PROPOSALS, maxLength: 40 });
  fc.assert(
    fc.property(times, fc.nat(1000), (flood, at) => {
      let held = [occupant('good', at, 'ana'), occupant('fine', at + 1, 'ben')];
      for (const [i, receivedAt] of flood.entries()) {
        held = [...held, occupant(`bad${i}`, receivedAt, 'mallory')];
        const id = nextToGo(held);
        held = held.filter((each) => each.id !== id);
      }
      assert.ok(held.length <= MAX_PROPOSALS);
      assert.deepEqual(
        held.filter(({ signers }) => !signers.includes('mallory')).map(({ id }) => id),
        ['good', 'fine'],
      );
    }),
  );
});
