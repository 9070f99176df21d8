/** What a peer can find out or hold on to without being listed anywhere. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createInvite } from '@moat/contract';
import type { PeerConnection } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { Deployment, claimFor, soon, started, until, type Machine } from './world.fixture.ts';

const LIST_BYTES = 1024;

test('a stranger gets the same empty list whatever it names, a member its own deployments only', async () => {
  await using alice = await started();
  await using stranger = await started();
  await using bob = await started();
  const shop = new Deployment();
  const zoo = new Deployment();
  alice.view.hold(shop.version({ 'alice!': alice.peer, bob: bob.peer }));
  alice.view.hold(zoo.version({ 'alice!': alice.peer }));
  const connection = await stranger.overlay.dial(alice.overlay.addresses(), soon());
  const answers = [];
  for (const named of [[], [shop.id], [zoo.id, shop.id], ['a'.repeat(26)]]) {
    answers.push(await rawHello(stranger, connection, named));
  }
  assert.equal(new Set(answers).size, 1);
  assert.deepEqual(JSON.parse(answers[0] ?? ''), { deployments: [] });
  assert.equal(answers[0]?.length, LIST_BYTES);
  // bob is listed, but knows nothing of the deployment: it hears the name and is not admitted for it
  const member = await bob.overlay.dial(alice.overlay.addresses(), soon());
  assert.deepEqual(JSON.parse(await rawHello(bob, member, [])), { deployments: [shop.id] });
  assert.deepEqual(bob.overlay.shared(member), []);
  assert.equal(alice.overlay.connections(bob.peer).length, 0);
  assert.deepEqual(bob.view.log, []);
});

test('news of a deployment we have gets no answer from us, valid or not', async () => {
  await using alice = await started();
  await using stranger = await started();
  const shop = new Deployment();
  const first = shop.version({ 'alice!': alice.peer });
  const second = shop.version({ 'alice!': alice.peer });
  alice.view.hold(second);
  const connection = await stranger.overlay.dial(alice.overlay.addresses(), soon());
  const forged = { ...second.proof, newest: { ...second.proof.newest, signatures: [] } };
  const times: number[] = [];
  for (const proof of [first.proof, second.proof, forged]) {
    const begin = performance.now();
    assert.deepEqual(
      JSON.parse(await rawHello(stranger, connection, [shop.id], [{ deployment: shop.id, proof, claims: [] }])),
      { deployments: [] },
    );
    times.push(performance.now() - begin);
  }
  await until(() => alice.view.log.length >= 2, 'they were looked at');
  assert.equal(alice.view.proof(shop.id)?.newest.head.version, 1);
  assert.ok(!alice.view.log.some((line) => line.endsWith('accepted')));
});

test('silent streams hold no connection beyond its probation', async () => {
  const clock = createManualClock(Date.now());
  await using alice = await started({ clock, anchor: true, limits: { probationMs: 5000 } });
  alice.view.hold(new Deployment().version({ 'alice!': alice.peer, laptop: createInvite(randomBytes(32)) }));
  alice.overlay.servePublish(() => Promise.reject(new Error('never')));
  await using stranger = await started({ limits: { probationMs: 60_000 } });
  for (const protocol of ['/libp2p/circuit/relay/0.2.0/hop', '/moat/hello/1', '/moat/join/1', '/moat/publish/1']) {
    const connection = await stranger.overlay.dial(alice.overlay.addresses(), soon());
    const channel = await stranger.overlay.openBytes(connection, protocol, soon());
    channel.onClose = () => undefined;
    clock.advance(5000);
    await until(() => connection.closed.aborted, `closed with a silent ${protocol}`);
  }
});

test('a claim is shown to a keeper that does not know the machine yet, and is enough to be let in', async () => {
  await using keeper = await started();
  await using other = await started();
  await using laptop = await started();
  const invite = createInvite(randomBytes(32));
  const shop = new Deployment();
  const version = shop.version({ 'keeper!': keeper.peer, 'other!': other.peer, laptop: invite });
  keeper.view.hold(version);
  other.view.hold(version);
  const answer = await keeper.view.witness(claimFor(shop.id, 'laptop', laptop.key, invite));
  assert.ok(answer.ok);
  laptop.view.hold(version, answer.claims);
  // the other keeper has not heard of the claim: it names nothing, takes the claim, and hello runs again
  const connection = await laptop.overlay.dial(other.overlay.addresses(), soon());
  await until(() => laptop.overlay.shared(connection).includes(shop.id), 'let in');
  assert.deepEqual(other.view.log, ['proof 0 same', 'claim accepted']);
});

test('who is removed while it says hello is not admitted, and gets no news', async () => {
  await using alice = await started();
  await using bob = await started();
  const shop = new Deployment();
  alice.view.hold(shop.version({ 'alice!': alice.peer, bob: bob.peer }));
  for (const named of [[shop.id], []]) {
    alice.view.hold(shop.version({ 'alice!': alice.peer, bob: bob.peer }));
    const connection = await bob.overlay.dial(alice.overlay.addresses(), soon());
    const stream = await bob.overlay.open(connection, '/moat/hello/1', soon());
    assert.deepEqual(JSON.parse(Buffer.from(await stream.read(soon())).toString()), { deployments: [shop.id] });
    alice.view.hold(shop.version({ 'alice!': alice.peer }));
    alice.overlay.viewChanged();
    await stream.write(Buffer.from(JSON.stringify({ deployments: named }).padEnd(LIST_BYTES)), soon());
    await stream.close();
    await assert.rejects(stream.read(soon()), 'nothing follows');
    assert.equal(alice.overlay.connections(bob.peer).length, 0);
  }
});

/** One hello by hand: what the other side answers, as text. */
async function rawHello(
  from: Machine,
  connection: PeerConnection,
  named: readonly string[],
  news: readonly object[] = [],
): Promise<string> {
  const stream = await from.overlay.open(connection, '/moat/hello/1', soon());
  await stream.write(Buffer.from(JSON.stringify({ deployments: named }).padEnd(LIST_BYTES)), soon());
  const answer = Buffer.from(await stream.read(soon())).toString();
  for (const item of news) {
    const document = Buffer.from(JSON.stringify(item));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(document.length);
    await stream.write(length, soon());
    await stream.write(document, soon());
  }
  await stream.close();
  // news may follow for what it named; then the end
  await assert.rejects(async () => {
    for (;;) await stream.read(soon());
  });
  return answer;
}
