import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Routes, type RouteChange, type RouteSpec } from '../../src/routes/snapshot.ts';

const spec = (host: string, members: readonly string[] = [], deployment: string = 'd'): RouteSpec => ({
  host,
  deployment,
  service: 's',
  members,
});
const none = { deployments: [], held: [], released: [] };

test('a swap replaces everything, tells what is gone, and keeps what was learned of members', () => {
  const routes = new Routes({ now: () => 0, random: () => 0 });
  assert.deepEqual(routes.swap([spec('a', ['m1', 'm2']), spec('b', [])], ['a', 'b', 'c']), []);
  const a = routes.find('a');
  a?.balancer.failure('m1');
  assert.equal(routes.isHeld('c'), true);
  assert.deepEqual(routes.swap([spec('a', ['m1', 'm3'])], ['a']), ['b']);
  assert.deepEqual(a?.members, ['m1', 'm2'], 'a request keeps the route that it found');
  assert.equal(routes.isHeld('c'), false);
  assert.equal(routes.find('a')?.balancer, a?.balancer);
  assert.equal(routes.find('a')?.balancer.healthy('m1'), false);
  assert.equal(routes.version, 2);
});

test('a change replaces what one deployment publishes and leaves all others alone', () => {
  const routes = new Routes({ now: () => 0, random: () => 0 });
  routes.swap([spec('a', ['m1']), spec('b'), spec('x', ['m2'], 'other')], ['a', 'b', 'x']);
  const x = routes.find('x');
  const withdrawn = routes.apply({
    deployments: [{ deployment: 'd', routes: [spec('a', ['m1', 'm3']), spec('c')] }],
    held: ['c', 'a'],
    released: ['b'],
  });
  assert.deepEqual(withdrawn, ['b']);
  assert.deepEqual(
    routes
      .list()
      .map(({ host }) => host)
      .toSorted(),
    ['a', 'c', 'x'],
  );
  assert.equal(routes.find('x'), x);
  assert.deepEqual(
    ['a', 'b', 'c', 'x'].map((host) => routes.isHeld(host)),
    [true, false, true, true],
  );
  assert.deepEqual(routes.apply({ ...none, deployments: [{ deployment: 'd', routes: [] }] }), ['a', 'c']);
  assert.deepEqual(routes.list(), [x]);
});

test("a name that became another deployment's is not withdrawn with what its first holder publishes", () => {
  const routes = new Routes({ now: () => 0, random: () => 0 });
  routes.swap([spec('a', [], 'first')], ['a']);
  const taken = { deployment: 'second', routes: [spec('a', ['m1'], 'second')] };
  assert.deepEqual(routes.apply({ ...none, deployments: [taken] }), ['a'], 'what its first holder answers ends');
  assert.deepEqual(routes.apply({ ...none, deployments: [taken] }), []);
  assert.deepEqual(routes.apply({ ...none, deployments: [{ deployment: 'first', routes: [] }] }), []);
  assert.equal(routes.find('a')?.deployment, 'second');
});

test('a deployment whose last name became another’s is not remembered', () => {
  const changes: RouteChange[] = [];
  const routes = new Routes({ now: () => 0, random: () => 0, changed: (change) => changes.push(change) });
  routes.swap([spec('a', [], 'first'), spec('b', [], 'first')], []);
  const takes = (host: string) => ({ deployment: 'second', routes: [spec(host, [], 'second')] });
  routes.apply({ ...none, deployments: [takes('a')] });
  assert.deepEqual(routes.apply({ ...none, deployments: [takes('b')] }), ['a', 'b']);
  routes.swap([], []);
  assert.deepEqual(
    changes.at(-1)?.deployments.map(({ deployment }) => deployment),
    ['second'],
  );
});
