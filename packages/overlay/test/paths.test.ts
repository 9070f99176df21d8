import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError, type PeerConnection } from '@moat/core';
import { checkLeaks } from '@moat/testkit';
import { Deployment, introduce, soon, started, until, type Machine } from './world.fixture.ts';

test('a relayed connection is improved to a direct one, which is listed first', async () => {
  await using anchor = await started({ anchor: true });
  await using alice = await started();
  await using bob = await started({ listen: [], limits: { keepAliveMs: 300 } });
  const version = new Deployment().version({ alice: alice.peer, bob: bob.peer }, anchor.overlay.addresses());
  for (const { view, overlay } of [alice, bob]) {
    view.hold(version);
    overlay.viewChanged();
  }
  await until(() => alice.overlay.reservations().length === 1, 'alice can be reached');
  const first = await bob.overlay.connect(alice.peer, soon());
  assert.equal(first.remote, null);
  await until(() => bob.overlay.connections(alice.peer)[0]?.remote !== null, 'a direct one stands');
  await until(() => first.closed.aborted, 'the idle relayed one is given back');
  assert.equal(bob.overlay.connections(alice.peer).length, 1);
});

test('strangers leave room: above their share the oldest is closed, members still come in', async () => {
  await using alice = await started({ limits: { connections: 12, probationMs: 60_000 } });
  await using bob = await started();
  const strangers: Machine[] = [];
  try {
    const connections: PeerConnection[] = [];
    for (let i = 0; i < 6; i++) {
      const stranger = await started({ listen: [], limits: { probationMs: 60_000 } });
      strangers.push(stranger);
      connections.push(await stranger.overlay.dial(alice.overlay.addresses(), soon()));
    }
    await until(() => connections.filter(({ closed }) => !closed.aborted).length === 3, 'a quarter of twelve');
    assert.deepEqual(
      connections.map(({ closed }) => closed.aborted),
      [true, true, true, false, false, false],
    );
    introduce(new Deployment().version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
    await bob.overlay.connect(alice.peer, soon());
  } finally {
    await Promise.all(strangers.map(({ overlay }) => overlay.stop()));
  }
});

test('a dead address does not hold up a live one, and nothing at all is told', async () => {
  await using alice = await started();
  await using bob = await started();
  const shop = new Deployment();
  introduce(shop.version({ alice: alice.peer, bob: bob.peer }), alice, bob);
  // RFC 5737: nobody is there
  bob.book.learn(alice.peer, ['/ip4/192.0.2.1/tcp/4410', '/ip4/192.0.2.2/tcp/4410']);
  const begin = performance.now();
  await bob.overlay.connect(alice.peer, soon());
  assert.ok(performance.now() - begin < 5000);
  const nobody = await started();
  await nobody.overlay.stop();
  await assert.rejects(bob.overlay.connect(nobody.peer, soon()), (error) => isMoatError(error, 'PEER_UNREACHABLE'));
  await assert.rejects(bob.overlay.connect(bob.peer, soon()), (error) => isMoatError(error, 'PEER_UNREACHABLE'));
  await assert.rejects(bob.overlay.dial(['/ip4/127.0.0.1/tcp/1'], soon()), (error) =>
    isMoatError(error, 'ADDRESS_INVALID'),
  );
});

test('an address where another machine answers is not taken for the peer', async () => {
  await using alice = await started();
  await using bob = await started();
  await using imposter = await started();
  const [address = ''] = imposter.overlay.addresses();
  const shop = new Deployment();
  introduce(shop.version({ alice: alice.peer, bob: bob.peer }), bob);
  await assert.rejects(bob.overlay.dial([address.replace(imposter.peer, alice.peer)], soon()), (error) =>
    isMoatError(error, 'PEER_UNREACHABLE'),
  );
});

test('a port that is taken is a coded error, and start can be tried again', async () => {
  await using alice = await started();
  const port = /\/tcp\/(\d+)/.exec(alice.overlay.addresses()[0] ?? '')?.[1] ?? '';
  await assert.rejects(started({ listen: [`/ip4/127.0.0.1/tcp/${port}`] }), (error) =>
    isMoatError(error, 'LISTEN_FAILED'),
  );
  await assert.rejects(started({ listen: ['nonsense'] }), (error) => isMoatError(error, 'ADDRESS_INVALID'));
});

test('stop closes everything, and a stopped one starts again', async () => {
  await using leaks = checkLeaks();
  const alice = await started({ anchor: true });
  const bob = await started({ listen: [] });
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, bob: bob.peer }, alice.overlay.addresses()), alice, bob);
  await until(() => bob.overlay.reservations().length === 1, 'reserved');
  await bob.overlay.stop();
  await bob.overlay.stop();
  await assert.rejects(bob.overlay.connect(alice.peer, soon()), (error) => isMoatError(error, 'PEER_UNREACHABLE'));
  await bob.overlay.start({ signal: soon() });
  await until(() => bob.overlay.reservations().length === 1, 'reserved again');
  await bob.overlay.stop();
  await alice.overlay.stop();
  await leaks.done();
});

test('machines on one LAN find each other by multicast', async (t) => {
  await using alice = await started({ mdns: true, listen: ['/ip4/0.0.0.0/tcp/0'] });
  await using bob = await started({ mdns: true, listen: ['/ip4/0.0.0.0/tcp/0'] });
  const shop = new Deployment();
  const version = shop.version({ 'alice!': alice.peer, bob: bob.peer });
  for (const { view, overlay } of [alice, bob]) {
    view.hold(version);
    overlay.viewChanged();
  }
  try {
    await until(() => bob.overlay.connections(alice.peer).length > 0, 'found', 5000);
  } catch {
    t.skip('multicast does not pass on this machine');
  }
});
