import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createManualClock } from '@moat/testkit';
import { addressKey } from '@moat/core';
import { ClientLimits } from '../../src/request/limits.ts';

const OPTIONS = { connectionsPerClient: 2, connections: 3, requestsPerSecond: 10 };

test('connections are counted a client and in all', () => {
  const limits = new ClientLimits({ clock: createManualClock() }, OPTIONS);
  assert.deepEqual(
    ['a', 'a', 'a', 'b', 'c'].map((address) => limits.enter(address)),
    [true, true, false, true, false],
  );
  limits.leave('a');
  assert.equal(limits.connections, 2);
  assert.equal(limits.enter('c'), true);
});

test('requests are spent from a bucket that fills with time', () => {
  const clock = createManualClock();
  const limits = new ClientLimits({ clock }, OPTIONS);
  const spent = Array.from({ length: 12 }, () => limits.spend('a'));
  assert.deepEqual(
    spent.map((wait) => wait === 0),
    [...Array<boolean>(10).fill(true), false, false],
  );
  assert.ok((spent[11] ?? 0) > 0 && (spent[11] ?? 0) <= 100);
  assert.equal(limits.spend('b'), 0);
  clock.advance(100);
  assert.equal(limits.spend('a'), 0);
  assert.ok(limits.spend('a') > 0);
  clock.advance(60_000);
  assert.equal(Array.from({ length: 12 }, () => limits.spend('a')).filter((wait) => wait === 0).length, 10);
  const free = new ClientLimits({ clock }, { ...OPTIONS, requestsPerSecond: undefined });
  assert.equal(
    Array.from({ length: 1_000 }, () => free.spend('a')).every((wait) => wait === 0),
    true,
  );
});

test('memory is bounded, and no open connection is forgotten', () => {
  const limits = new ClientLimits({ clock: createManualClock() }, { ...OPTIONS, connections: 100, maxAddresses: 10 });
  limits.enter('held');
  limits.enter('held');
  for (let i = 0; i < 1_000; i++) limits.spend(`x${i}`);
  assert.equal(limits.enter('held'), false);
  limits.leave('held');
  assert.equal(limits.enter('held'), true);
});

test('an IPv6 client is its /64', () => {
  assert.equal(addressKey('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
  assert.equal(addressKey('2001:db8:1:2::1'), '2001:db8:1:2::/64');
  assert.equal(addressKey('2001:DB8:0001:0002:0:0:0:1'), '2001:db8:1:2::/64');
  assert.equal(addressKey('2001:db8::1'), '2001:db8:0:0::/64');
  assert.equal(addressKey('::1'), '0:0:0:0::/64');
  assert.equal(addressKey('10.1.2.3'), '10.1.2.3');
});
