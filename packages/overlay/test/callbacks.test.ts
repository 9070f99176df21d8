import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Deployment, introduce, isWith, machine, soon, started, until } from './world.fixture.ts';

test('a keeper that comes back at another address is with its members again', async () => {
  await using old = await started();
  await using bob = await started();
  await using carol = await started();
  const shop = new Deployment();
  const version = shop.version({ 'keeper!': old.peer, bob: bob.peer, carol: carol.peer });
  introduce(version, old, bob, carol);
  await until(() => isWith(old, bob, carol), 'both are at the keeper');
  await old.overlay.stop();
  // Another port: the members know the old one only, and nobody else knows anybody.
  await using back = machine({ key: old.key });
  back.view.hold(version);
  for (const other of [bob, carol]) back.book.learn(other.peer, old.book.known(other.peer));
  await back.overlay.start({ signal: soon() });
  const begin = Date.now();
  await until(() => isWith(back, bob, carol), 'they are with it again', 5000);
  assert.ok(Date.now() - begin < 5000);
  const [address = ''] = back.overlay.addresses();
  for (const other of [bob, carol]) {
    await until(
      () => other.book.known(back.peer).some((known) => address.startsWith(`${known}/`)),
      'its new address is known',
    );
  }
});

test('a member that stays away is called a few times, not for ever', async () => {
  await using gone = await started();
  await using keeper = await started();
  const shop = new Deployment();
  const version = shop.version({ 'keeper!': keeper.peer, gone: gone.peer });
  const known = gone.overlay.addresses().map((address) => address.replace(/\/p2p\/[^/]+$/, ''));
  await gone.overlay.stop();
  let looked = 0;
  keeper.book.learn(gone.peer, known);
  keeper.book.known = (peer) => {
    if (peer === gone.peer) looked += 1;
    return peer === gone.peer ? known : [];
  };
  keeper.view.hold(version);
  keeper.overlay.viewChanged();
  await until(() => looked >= 3, 'three attempts');
  // The goal is met now: views that change make no more of them.
  for (let i = 0; i < 20; i++) {
    keeper.overlay.viewChanged();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(looked, 3);
});

test('keepers hold each other, however many there are; members hold two', async () => {
  const keepers = [await started(), await started(), await started(), await started()];
  await using bob = await started();
  try {
    const shop = new Deployment();
    const members = Object.fromEntries(keepers.map(({ peer }, i) => [`keeper-${i}!`, peer]));
    const version = shop.version({ ...members, bob: bob.peer });
    introduce(version, ...keepers, bob);
    await until(
      () =>
        keepers.every((one) =>
          keepers.every((other) => one === other || one.overlay.connections(other.peer).length > 0),
        ),
      'every keeper holds every other',
    );
    await until(() => new Set(bob.overlay.connections().map(({ peer }) => peer)).size >= 2, 'bob holds two');
  } finally {
    for (const one of keepers) await one.overlay.stop();
  }
});
