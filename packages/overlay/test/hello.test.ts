import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createManualClock } from '@moat/testkit';
import { Deployment, introduce, soon, started, until } from './world.fixture.ts';

test('two members find that they share a deployment, and messages pass', async () => {
  await using alice = await started();
  await using bob = await started();
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  bob.overlay.handle('/moat/echo/1', async (stream) => stream.write(await stream.read(soon()), soon()), {
    audience: 'admitted',
  });
  const connection = await alice.overlay.connect(bob.peer, soon());
  assert.deepEqual(alice.overlay.shared(connection), [shop.id]);
  const stream = await alice.overlay.open(connection, '/moat/echo/1', soon());
  await stream.write(Buffer.from('hello'), soon());
  assert.equal(Buffer.from(await stream.read(soon())).toString(), 'hello');
  await until(() => bob.overlay.connections(alice.peer).length > 0, 'bob admits alice');
  await until(() => alice.book.known(bob.peer).length > 0, 'addresses learned');
});

test('a stranger is admitted nowhere and closed when probation ends', async () => {
  const clock = createManualClock(Date.now());
  await using alice = await started({ clock, limits: { probationMs: 5000 } });
  await using mallory = await started({ limits: { probationMs: 60_000 } });
  const shop = new Deployment();
  alice.view.hold(shop.version({ 'alice!': alice.peer }));
  const connection = await mallory.overlay.dial(alice.overlay.addresses(), soon());
  assert.deepEqual(mallory.overlay.shared(connection), []);
  clock.advance(5000);
  await until(() => connection.closed.aborted, 'alice closes');
});
