import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MessageStream } from '@moat/core';
import { DEADLINE_MS, Deployment, introduce, soon, started, until, type Machine } from './world.fixture.ts';

test('two machines that accept no inbound connection meet through an anchor', async () => {
  await using anchor = await started({ anchor: true });
  await using alice = await started({ listen: [] });
  await using bob = await started({ listen: [] });
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, bob: bob.peer }, anchor.overlay.addresses()), alice, bob);
  await until(
    () => alice.overlay.reservations().length === 1 && bob.overlay.reservations().length === 1,
    'reservations',
  );
  serveEcho(bob);
  const connection = await alice.overlay.connect(bob.peer, soon());
  assert.equal(connection.remote, null);
  assert.deepEqual(alice.overlay.shared(connection), [shop.id]);
  assert.equal(await echo(alice, connection, 'through the anchor'), 'through the anchor');
  assert.ok(alice.overlay.addresses().some((address) => address.endsWith(`/p2p-circuit/p2p/${alice.peer}`)));
});

test('the relayed connection outlives probation on all three machines, and any one anchor may die', async () => {
  const limits = { probationMs: 3000 };
  await using one = await started({ anchor: true, limits });
  await using two = await started({ anchor: true, limits });
  await using alice = await started({ listen: [], limits });
  await using bob = await started({ listen: [], limits });
  const shop = new Deployment();
  const anchors = [...one.overlay.addresses(), ...two.overlay.addresses()];
  introduce(shop.version({ 'alice!': alice.peer, bob: bob.peer }, anchors), alice, bob);
  await until(
    () => alice.overlay.reservations().length === 2 && bob.overlay.reservations().length === 2,
    'two reservations',
  );
  serveEcho(bob);
  const first = await alice.overlay.connect(bob.peer, soon());
  await new Promise((resolve) => setTimeout(resolve, 3500));
  assert.equal(await echo(alice, first, 'still here'), 'still here');
  assert.equal(alice.overlay.reservations().length, 2);
  await one.overlay.stop();
  // What ran through it is gone, as soon as that is noticed; both sides call each other again.
  let answer = '';
  for (const end = Date.now() + DEADLINE_MS; answer === '' && Date.now() < end;) {
    const second = await alice.overlay.connect(bob.peer, soon());
    answer = await echo(alice, second, 'over the other').catch(() => '');
  }
  assert.equal(answer, 'over the other');
});

test('a reservation does not open what is for members', async () => {
  await using anchor = await started({ anchor: true });
  const shop = new Deployment();
  anchor.view.hold(shop.version({ 'anchor!': anchor.peer }));
  serveEcho(anchor);
  await using mallory = await started({ listen: [] });
  const zoo = new Deployment();
  introduce(zoo.version({ 'mallory!': mallory.peer }, anchor.overlay.addresses()), mallory);
  await until(() => mallory.overlay.reservations().length === 1, 'reserved');
  const connection = await mallory.overlay.dial(anchor.overlay.addresses(), soon());
  await assert.rejects(echo(mallory, connection, 'let me in'));
  assert.equal(anchor.overlay.connections().length, 0);
});

test('quotas: reservations in all, and per address', async () => {
  await using anchor = await started({ anchor: { reservations: 3, reservationsPerAddress: 2 } });
  const machines: Machine[] = [];
  try {
    for (let i = 0; i < 4; i++) {
      const made = await started({ listen: [] });
      machines.push(made);
      introduce(new Deployment().version({ 'a!': made.peer }, anchor.overlay.addresses()), made);
    }
    await until(() => reserved(machines) === 2, 'two of four');
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal(reserved(machines), 2);
  } finally {
    for (const made of machines) await made.overlay.stop();
  }
});

function reserved(machines: readonly Machine[]): number {
  return machines.filter(({ overlay }) => overlay.reservations().length > 0).length;
}

function serveEcho({ overlay }: Machine): void {
  overlay.handle('/moat/echo/1', async (stream: MessageStream) => stream.write(await stream.read(soon()), soon()), {
    audience: 'admitted',
  });
}

async function echo(
  { overlay }: Machine,
  connection: Awaited<ReturnType<Machine['overlay']['connect']>>,
  text: string,
): Promise<string> {
  const stream = await overlay.open(connection, '/moat/echo/1', soon());
  await stream.write(Buffer.from(text), soon());
  const answer = Buffer.from(await stream.read(soon())).toString();
  await stream.close();
  return answer;
}
