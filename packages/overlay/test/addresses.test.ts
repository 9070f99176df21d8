/** Where a machine says it can be dialed, and what is believed of that. */
import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { createManualClock } from '@moat/testkit';
import { AddressWatch } from '../src/address-watch.ts';
import { Deployment, soon, started, until } from './world.fixture.ts';

test('a change of addresses is noticed once, the same addresses in another order are none', () => {
  const clock = createManualClock();
  let addresses = ['/ip4/10.0.0.1/tcp/1', '/ip4/10.0.0.2/tcp/1'];
  let changes = 0;
  const watch = new AddressWatch({
    clock,
    addresses: () => addresses,
    hosts: () => [],
    onChange: () => (changes += 1),
  });
  watch.start();
  addresses = addresses.toReversed();
  clock.advance(2_000);
  assert.equal(changes, 0);
  addresses = ['/ip4/10.0.0.3/tcp/1'];
  clock.advance(2_000);
  clock.advance(2_000);
  assert.equal(changes, 1);
  watch.stop();
  addresses = [];
  clock.advance(60_000);
  assert.equal(changes, 1);
});

test('a machine is elsewhere when it has none of its addresses any more, and others', () => {
  const clock = createManualClock();
  let hosts = ['192.168.1.2', '2001:db8::2'];
  const changes: boolean[] = [];
  const watch = new AddressWatch({
    clock,
    addresses: () => [],
    hosts: () => hosts,
    onChange: (isElsewhere) => changes.push(isElsewhere),
  });
  watch.start();
  for (const next of [['192.168.1.2'], [], ['192.168.1.2'], [], ['192.168.7.2'], ['192.168.7.2', '10.0.0.1']]) {
    hosts = next;
    clock.advance(1_000);
  }
  assert.deepEqual(changes, [false, false, false, false, true, false]);
  watch.stop();
});

test('an address inside a private network is neither told nor learned', async (t) => {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const inside = all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
  if (inside === undefined) return t.skip('this machine has no address besides loopback');
  const listen = ['/ip4/0.0.0.0/tcp/0'];
  await using alice = await started({ listen, isInside: (host) => host === inside });
  await using bob = await started({ listen });
  const told = alice.overlay.addresses().join();
  assert.match(told, /\/ip4\/127\.0\.0\.1\//);
  assert.ok(!told.includes(inside), told);
  const version = new Deployment().version({ alice: alice.peer, bob: bob.peer });
  for (const { view, overlay } of [alice, bob]) {
    view.hold(version);
    overlay.viewChanged();
  }
  await alice.overlay.dial(bob.overlay.addresses(), soon());
  await until(() => bob.book.known(alice.peer).length > 0, 'bob learned of alice');
  await until(() => alice.book.known(bob.peer).length > 0, 'alice learned of bob');
  assert.ok(bob.book.known(alice.peer).every((address) => !address.includes(`/${inside}/`)));
  assert.ok(alice.book.known(bob.peer).every((address) => !address.includes(`/${inside}/`)));
});
