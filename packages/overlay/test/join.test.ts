import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import { createInvite } from '@moat/contract';
import { Deployment, claimFor, introduce, soon, started, until } from './world.fixture.ts';

test('a machine takes a vacant place at a keeper and is a member from then on', async () => {
  await using alice = await started();
  await using bob = await started();
  await using laptop = await started();
  const invite = createInvite(randomBytes(32));
  const shop = new Deployment();
  const version = shop.version({ 'alice!': alice.peer, bob: bob.peer, laptop: invite });
  introduce(version, alice, bob);
  const request = claimFor(shop.id, 'laptop', laptop.key, invite);
  const answer = await laptop.overlay.requestJoin(alice.overlay.addresses(), request, soon());
  assert.ok(answer.ok);
  assert.deepEqual(Buffer.from(answer.contract), Buffer.from(version.bytes));
  laptop.view.hold(version, answer.claims);
  laptop.overlay.viewChanged();
  await until(() => alice.overlay.connections(laptop.peer).length > 0, 'alice admits the laptop');
  await until(() => bob.view.claims(shop.id).length === 1, 'bob hears of the claim');
  // an identical retry gets the same answer
  const again = await laptop.overlay.requestJoin(alice.overlay.addresses(), request, soon());
  assert.ok(again.ok);
  assert.deepEqual(again.claim, answer.claim);
});

test('a second machine with the same token is told that it is used', async () => {
  await using alice = await started();
  await using laptop = await started();
  await using thief = await started();
  const invite = createInvite(randomBytes(32));
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, laptop: invite }), alice);
  const first = await laptop.overlay.requestJoin(
    alice.overlay.addresses(),
    claimFor(shop.id, 'laptop', laptop.key, invite),
    soon(),
  );
  assert.ok(first.ok);
  const second = await thief.overlay.requestJoin(
    alice.overlay.addresses(),
    claimFor(shop.id, 'laptop', thief.key, invite),
    soon(),
  );
  assert.deepEqual(second.ok ? 'ok' : second.code, 'INVITE_USED');
});

test('unknown deployment, unknown invite and a claim for another machine get one answer', async () => {
  await using alice = await started();
  await using mallory = await started();
  const invite = createInvite(randomBytes(32));
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, laptop: invite }), alice);
  const other = createInvite(randomBytes(32));
  const requests = [
    claimFor('a'.repeat(26), 'laptop', mallory.key, invite),
    claimFor(shop.id, 'laptop', mallory.key, other),
    claimFor(shop.id, 'nobody', mallory.key, invite),
    claimFor(shop.id, 'laptop', mallory.key, null),
    claimFor(shop.id, 'laptop', alice.key, invite),
  ];
  const connection = await mallory.overlay.dial(alice.overlay.addresses(), soon());
  const answers: string[] = [];
  for (const request of requests) {
    const begin = performance.now();
    const stream = await mallory.overlay.open(connection, '/moat/join/1', soon());
    await stream.write(Buffer.from(JSON.stringify(request)), soon());
    const length = await stream.read(soon());
    answers.push(Buffer.concat([length, await stream.read(soon())]).toString('latin1'));
    await stream.close();
    assert.ok(performance.now() - begin >= 240, 'not before its time');
  }
  assert.equal(new Set(answers).size, 1);
  assert.match(answers[0] ?? '', /JOIN_REFUSED/);
});

test('a machine that keeps nothing does not serve join', async () => {
  await using bob = await started();
  await using mallory = await started();
  const shop = new Deployment();
  bob.view.hold(shop.version({ bob: bob.peer }));
  await assert.rejects(
    mallory.overlay.requestJoin(bob.overlay.addresses(), claimFor(shop.id, 'bob', mallory.key, null), soon()),
    (error) => isMoatError(error, 'NO_KEEPER_REACHABLE'),
  );
});

test('the second keeper is asked when the first is away', async () => {
  await using alice = await started();
  await using laptop = await started();
  const invite = createInvite(randomBytes(32));
  const shop = new Deployment();
  const away = await started();
  const [awayAddress = ''] = away.overlay.addresses();
  await away.overlay.stop();
  introduce(shop.version({ 'alice!': alice.peer, 'away!': away.peer, laptop: invite }), alice);
  const answer = await laptop.overlay.requestJoin(
    [awayAddress, ...alice.overlay.addresses()],
    claimFor(shop.id, 'laptop', laptop.key, invite),
    soon(),
  );
  assert.ok(answer.ok);
});
