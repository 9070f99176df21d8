/** Who reaches what, asked for a whole contract at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { buildView, may, placesThatReach, type Contract } from '@moat/contract';
import { NOW, contract, identity, laptopClaim } from './deployment.fixture.ts';

const SELECTORS = ['web-1', 'db-1', 'laptop', 'spare', 'tag:web', 'tag:none'];

test('many at once get the answer that each of them gets', () => {
  const line = fc.record(
    {
      from: fc.uniqueArray(fc.constantFrom(...SELECTORS), { minLength: 1 }),
      to: fc.uniqueArray(fc.constantFrom('web', 'db'), { minLength: 1 }),
      expires: fc.constantFrom('2026-11-20T09:00:00Z', '2026-11-20T10:00:00Z', '2026-11-21T00:00:00Z'),
    },
    { requiredKeys: ['from', 'to'] },
  );
  const state = fc.constantFrom<Contract['state']>('active', 'active', 'ended');
  fc.assert(
    fc.property(
      fc.array(line, { maxLength: 4 }),
      state,
      fc.subarray(['web', 'db']),
      fc.boolean(),
      (access, now, to, late) => {
        const view = buildView({ ...contract, access, state: now }, [laptopClaim()], NOW);
        const at = late ? Date.parse('2026-12-20T00:00:00Z') : NOW;
        const services = [...view.services.values()].filter(({ name }) => to.includes(name));
        const each = [...view.places.keys()].filter((from) => to.some((name) => may(view, from, name, at).allowed));
        assert.deepEqual(
          placesThatReach(view, services, at).map(({ name }) => name),
          each,
        );
      },
    ),
  );
});

test('the largest contract made for the purpose is answered in a moment', () => {
  const services = Array.from({ length: 512 }, (_, i) => ({
    name: `s${i}`,
    on: ['n0'],
    port: i + 1,
    target: `[::1]:${i + 1}`,
    protocol: 'tcp' as const,
  }));
  const members = Array.from({ length: 1800 }, (_, i) => ({
    name: `n${i}`,
    node: identity(`n${i}`).peer,
    ipv4: `10.77.${(i + 2) >> 8}.${(i + 2) & 255}`,
    tags: [],
  }));
  const half = (i: number): string[] => Array.from({ length: 256 }, (_, k) => `s${(i % 2) * 256 + k}`);
  const access = Array.from({ length: 400 }, (_, i) => ({ from: ['tag:none'], to: half(i) }));
  const view = buildView({ ...contract, services, members, access, publish: [] }, [], NOW);
  const before = process.cpuUsage();
  assert.deepEqual(placesThatReach(view, services, NOW), []);
  const { user, system } = process.cpuUsage(before);
  assert.ok(user + system < 250_000, `${(user + system) / 1000} ms`);
});
