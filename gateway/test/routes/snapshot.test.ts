import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Routes } from '../../src/routes/snapshot.ts';

test('a swap replaces everything, tells what is gone, and keeps what was learned of members', () => {
  const routes = new Routes({ now: () => 0, random: () => 0 });
  const spec = (host: string, members: readonly string[]): Parameters<Routes['swap']>[0][number] => ({
    host,
    deployment: 'd',
    service: 's',
    members,
  });
  assert.deepEqual(routes.swap([spec('a', ['m1', 'm2']), spec('b', [])], ['a', 'b', 'c']), []);
  const before = routes.current;
  const a = before.find('a');
  a?.balancer.failure('m1');
  assert.deepEqual(routes.swap([spec('a', ['m1', 'm3'])], ['a']), ['b']);
  assert.equal(before.find('b')?.host, 'b', 'the old snapshot is as it was');
  assert.equal(before.isHeld('c'), true);
  assert.equal(routes.current.isHeld('c'), false);
  assert.equal(routes.current.find('a')?.balancer, a?.balancer);
  assert.equal(routes.current.find('a')?.balancer.healthy('m1'), false);
  assert.equal(routes.version, 2);
});
