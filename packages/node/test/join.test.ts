import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { MoatError } from '@moat/core';
import { encodeToken, parseToken } from '@moat/contract';
import { createNodeKey } from '@moat/identity';
import { freePort } from '@moat/testkit';
import { Agent, Owner, until } from './world.ts';

test('a token takes its place once; the same machine may ask again', async () => {
  await using one = await Agent.start();
  await using two = await Agent.start();
  await using thief = await Agent.start();
  const owner = new Owner(one);
  const place = owner.invited('laptop', 3);
  await owner.apply({ members: [await owner.pinned('home', 2, one, { keeper: true }), place.member] });
  const token = await place.token();
  await two.client.join({ token });
  const again = await two.client.join({ token });
  assert.equal(again.member, 'laptop');
  await assert.rejects(thief.client.join({ token }), { code: 'INVITE_USED' });
  assert.deepEqual(await thief.client.deployments(), []);
  const { places } = await one.client.deployment('shop');
  assert.deepEqual(
    places.map(({ name, state, peer }) => [name, state, peer]),
    [
      ['home', 'pinned', await one.peerId()],
      ['laptop', 'claimed', await two.peerId()],
    ],
  );
  // Also after every machine restarted.
  await one.stop();
  await one.start();
  const moved = parseToken(token);
  const { keepers } = await one.client.deployment('shop');
  await assert.rejects(thief.client.join({ token: encodeToken({ ...moved, keepers }) }), { code: 'INVITE_USED' });
});

test('an expired, a foreign and a malformed token are refused by their codes', async () => {
  await using one = await Agent.start();
  await using two = await Agent.start();
  const owner = new Owner(one);
  const late = owner.invited('late', 3, {}, 1000);
  const never = owner.invited('never', 4);
  await owner.apply({ members: [await owner.pinned('home', 2, one, { keeper: true }), late.member] });
  const token = await late.token();
  await until('the invite is over', async () => (await one.client.deployment('shop')).places[1]?.state === 'vacant');
  await assert.rejects(two.client.join({ token }), { code: 'INVITE_EXPIRED' });
  await assert.rejects(two.client.join({ token: await never.token() }), { code: 'JOIN_REFUSED' });
  await assert.rejects(two.client.join({ token: token.slice(0, -20) }), { code: 'TOKEN_INVALID' });
  const other = { ...parseToken(token), deployment: 'a'.repeat(26) };
  await assert.rejects(two.client.join({ token: encodeToken(other) }), { code: 'JOIN_REFUSED' });
  await assert.rejects(two.client.join({ token: encodeToken({ ...parseToken(await never.token()), version: 9 }) }), {
    code: 'JOIN_REFUSED',
  });
});

test('a token made for a newer version is not answered by an older one', async () => {
  await using one = await Agent.start();
  await using two = await Agent.start();
  const owner = new Owner(one);
  const place = owner.invited('laptop', 3);
  await owner.apply({ members: [await owner.pinned('home', 2, one, { keeper: true }), place.member] });
  const token = encodeToken({ ...parseToken(await place.token()), version: 7 });
  await assert.rejects(two.client.join({ token }), { code: 'INVITE_UNKNOWN' });
  assert.deepEqual(await two.client.deployments(), []);
});

test('where no way leads to a keeper, join names both remedies', async () => {
  await using one = await Agent.start();
  await using two = await Agent.start();
  const owner = new Owner(one);
  const place = owner.invited('laptop', 3);
  await owner.apply({ members: [await owner.pinned('home', 2, one, { keeper: true }), place.member] });
  const token = parseToken(await place.token());
  // Nobody answers, and nobody says that nobody is there: as behind a firewall.
  const silent = createServer((socket) => socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const keepers = [`/ip4/127.0.0.1/tcp/${port}/p2p/${await one.peerId()}`];
  const dead = [`/ip4/127.0.0.1/tcp/1/p2p/${createNodeKey().peerId}`];
  const refusals = [[], dead].map(async (anchors) => {
    const error = await two.client.join({ token: encodeToken({ ...token, keepers, anchors }) }).then(
      () => assert.fail('joined'),
      (reason: MoatError) => reason,
    );
    assert.equal(error.code, 'NO_ANCHOR_REACHABLE');
    assert.match(error.next.join('\n'), /one LAN.*4410[\s\S]*moat node run --anchor/);
    return error.reason ?? '';
  });
  const [without = '', withOne = ''] = await Promise.all(refusals);
  assert.match(without, /names no anchor/);
  assert.match(withOne, /no anchor of the token answers/);
  silent.close();
});

test('with no keeper in reach join says so, or waits', async () => {
  const listen = [`/ip4/127.0.0.1/tcp/${await freePort()}`];
  await using one = await Agent.start({ flags: { socksPort: null, listen } });
  await using two = await Agent.start();
  const owner = new Owner(one);
  const place = owner.invited('laptop', 3);
  await owner.apply({ members: [await owner.pinned('home', 2, one, { keeper: true }), place.member] });
  const token = await place.token();
  await one.stop();
  await assert.rejects(two.client.join({ token }), { code: 'NO_KEEPER_REACHABLE', retryable: true });
  const steps: string[] = [];
  const stop = new AbortController();
  const follow = (async () => {
    for await (const event of two.client.events(stop.signal)) {
      if (event.kind !== 'join') continue;
      steps.push(event.step);
      if (event.step === 'waiting' && steps.length < 3) await one.start();
      if (event.step === 'joined') return;
    }
  })();
  assert.equal((await two.client.join({ token, waitMs: 15_000 })).member, 'laptop');
  await follow;
  stop.abort();
  assert.ok(steps.includes('waiting') && steps.at(-1) === 'joined', steps.join());
});

test('a machine joins while the owner is off, another keeper being up; the owner learns of it later', async () => {
  await using one = await Agent.start();
  await using two = await Agent.start();
  await using three = await Agent.start();
  const owner = new Owner(one);
  const laptop = owner.invited('laptop', 4);
  await owner.apply({
    members: [
      await owner.pinned('home', 2, one, { keeper: true }),
      await owner.pinned('office', 3, two, { keeper: true }),
      laptop.member,
    ],
  });
  // The pinned machine finds its deployment with a locator.
  const detail = await one.client.deployment('shop');
  const locator = encodeToken({
    deployment: owner.deployment,
    version: 0,
    head: detail.head,
    keepers: detail.keepers,
    anchors: [],
  });
  assert.equal((await two.client.join({ token: locator })).member, 'office');
  await until('the owner knows where the other keeper is', async () => {
    const keepers = (await one.client.deployment('shop')).keepers.map((address) => address.split('/p2p/')[1]);
    return keepers.includes(await two.peerId());
  });
  const token = await laptop.token();
  await one.stop();
  const joined = await three.client.join({ token });
  assert.deepEqual([joined.member, joined.keeper], ['laptop', await two.peerId()]);
  await one.start();
  await until('the owner sees the claim', async () => {
    const { places } = await one.client.deployment('shop');
    return places.find(({ name }) => name === 'laptop')?.peer === (await three.peerId());
  });
});

test('a pinned machine that is connected to the keeper already finds a second deployment there', async () => {
  await using one = await Agent.start();
  await using two = await Agent.start();
  for (const name of ['shop', 'zoo']) {
    const owner = new Owner(one);
    const members = [await owner.pinned('home', 2, one, { keeper: true }), await owner.pinned('office', 3, two)];
    await owner.apply({ name, members });
    const { head, keepers } = await one.client.deployment(owner.deployment);
    const locator = encodeToken({ deployment: owner.deployment, version: 0, head, keepers, anchors: [] });
    assert.equal((await two.client.join({ token: locator })).member, 'office', name);
  }
});
