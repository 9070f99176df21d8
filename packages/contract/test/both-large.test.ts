/** Branches of many access lines: what a fork costs every machine that knows both. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildView, canonicalize, whatBothAllow, type Contract, type Grant } from '@moat/contract';
import { NOW, contract } from './deployment.fixture.ts';

const LINES = Array.from({ length: 1024 }, (_, i) => i);

function withAccess(access: readonly Grant[]): Contract {
  return { ...contract, access };
}

test('lines made to match each other are looked at so often and no more, and so much is left of them', () => {
  const end = (i: number): string => new Date(NOW + i * 1000).toISOString();
  const many = (offset: number): Contract =>
    withAccess(LINES.map((i) => ({ from: ['tag:web'], to: ['db'], expires: end(2 * i + offset) })));
  const subsets = withAccess(
    LINES.map((i) => ({
      from: Array.from({ length: 10 }, (_, k) => `tag:t${k}-${(i >> k) & 1}`),
      to: ['db'],
      expires: end(i),
    })),
  );
  const linesLeft = (one: Contract, other: Contract): number => {
    const both = whatBothAllow(one, other);
    buildView(both, [], NOW);
    return both.access.length;
  };
  // All pairs would leave 2,047 lines, and half a million.
  assert.ok(linesLeft(many(0), many(1)) < LINES.length);
  assert.equal(linesLeft(many(0), many(0)), LINES.length);
  assert.ok(linesLeft(subsets, subsets) < 64 * LINES.length);
});

test('a large contract loses no line that both branches have', () => {
  const services = LINES.slice(0, 512).map((i) => ({
    name: `s${i}`,
    on: ['db-1'],
    port: i + 1,
    target: `127.0.0.1:${i + 1}`,
    protocol: 'tcp' as const,
  }));
  const access = LINES.map((i) => ({
    from: ['tag:ops', `tag:team-${i}`],
    to: ['s0', `s${i >> 1}`].slice(i < 2 ? 1 : 0),
  }));
  const large = { ...contract, services, access, publish: [] };
  const shared = new Set(whatBothAllow(large, large).access.map((line) => canonicalize(line)));
  for (const line of access) assert.ok(shared.has(canonicalize(line)));
});
