/** Who holds a place, when tokens are shown again, late, to the wrong keeper, or by two machines. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { encodeToken, parseToken } from '@moat/contract';
import type { DeploymentDetail } from '@moat/admin-api';
import { Agent, Owner, until } from './world.ts';

/** The same token, with these machines as its keepers. */
async function at(token: string, ...keepers: readonly Agent[]): Promise<string> {
  const status = await Promise.all(keepers.map((keeper) => keeper.client.status()));
  return encodeToken({ ...parseToken(token), keepers: status.flatMap(({ addresses }) => addresses) });
}

async function stateOf(agent: Agent, id: string): Promise<string | undefined> {
  return (await agent.client.deployment(id)).places.find(({ name }) => name === 'laptop')?.state;
}

test('a token shown again after its place was pinned gives that place, and nobody else anything', async () => {
  await using home = await Agent.start();
  await using second = await Agent.start();
  await using laptop = await Agent.start();
  await using thief = await Agent.start();
  const owner = new Owner(home);
  const place = owner.invited('laptop', 3);
  await owner.apply({
    members: [
      await owner.pinned('home', 2, home, { keeper: true }),
      await owner.pinned('second', 4, second, { keeper: true }),
      place.member,
    ],
  });
  const id = owner.deployment;
  await second.client.join({ token: await owner.locator() });
  const token = await place.token();
  assert.equal((await laptop.client.join({ token })).member, 'laptop');
  const wireguard = randomBytes(32).toString('base64');
  const { invite: _, ...vacant } = place.member;
  const node = await laptop.peerId();
  await owner.apply({
    members: owner.contract.members.map((each) => (each.name === 'laptop' ? { ...vacant, node, wireguard } : each)),
  });
  await until('it is pinned', async () => (await stateOf(laptop, id)) === 'pinned');
  for (const keepers of [[home], [second]]) {
    const again = await laptop.client.join({ token: await at(token, ...keepers) });
    assert.deepEqual([again.member, again.version], ['laptop', 1]);
    await assert.rejects(thief.client.join({ token: await at(token, ...keepers) }), {
      code: /^(INVITE_USED|JOIN_REFUSED)$/,
    });
  }
  // With no keeper at all it still is what it was.
  await home.stop();
  await second.stop();
  assert.equal(await stateOf(laptop, id), 'pinned');
  assert.deepEqual(await thief.client.deployments(), []);
  await home.start();
  const { places, claims } = await home.client.deployment(id);
  assert.deepEqual([places.find(({ name }) => name === 'laptop')?.peer, claims], [node, []]);
});

test('a token for another head at that version, or one above, is refused and stores nothing', async () => {
  await using home = await Agent.start();
  await using laptop = await Agent.start();
  const owner = new Owner(home);
  const place = owner.invited('laptop', 3);
  await owner.apply({ members: [await owner.pinned('home', 2, home, { keeper: true }), place.member] });
  const token = parseToken(await place.token());
  const other = { ...token, head: randomBytes(32).toString('base64url') };
  await assert.rejects(laptop.client.join({ token: encodeToken(other) }), { code: 'INVITE_UNKNOWN' });
  await assert.rejects(laptop.client.join({ token: encodeToken({ ...token, version: 1 }) }), {
    code: 'INVITE_UNKNOWN',
  });
  assert.deepEqual(await laptop.client.deployments(), []);
  // The claim is witnessed; the very token takes the place.
  assert.equal((await laptop.client.join({ token: encodeToken(token) })).member, 'laptop');
});

test('two machines that two keepers let in apart freeze the place until the owner decides', async () => {
  await using anchor = await Agent.start({ flags: { anchor: true } });
  await using home = await Agent.start();
  await using second = await Agent.start();
  await using laptop = await Agent.start();
  await using thief = await Agent.start();
  await using third = await Agent.start();
  const owner = new Owner(home);
  const place = owner.invited('laptop', 3);
  await owner.apply({
    anchors: (await anchor.client.status()).addresses,
    members: [
      await owner.pinned('home', 2, home, { keeper: true }),
      await owner.pinned('second', 4, second, { keeper: true }),
      place.member,
    ],
  });
  const id = owner.deployment;
  await second.client.join({ token: await owner.locator() });
  const token = await place.token();
  // Apart: each keeper sees one of them only.
  await home.stop();
  assert.equal((await thief.client.join({ token: await at(token, second) })).member, 'laptop');
  await second.stop();
  await home.start();
  assert.equal((await laptop.client.join({ token: await at(token, home) })).member, 'laptop');
  await second.start();
  for (const keeper of [home, second]) {
    const detail = await until('the place is frozen', async () => {
      const found: DeploymentDetail = await keeper.client.deployment(id);
      return found.alarms.some(({ code }) => code === 'PLACE_FROZEN') && found;
    });
    const frozen = detail.places.find(({ name }) => name === 'laptop');
    assert.deepEqual([frozen?.state, frozen?.peer], ['frozen', null]);
    await assert.rejects(third.client.join({ token: await at(token, keeper) }), { code: 'INVITE_USED' });
  }
  const { invite: _, ...vacant } = place.member;
  const node = await laptop.peerId();
  await owner.apply({
    members: owner.contract.members.map((each) => (each.name === 'laptop' ? { ...vacant, node } : each)),
  });
  for (const agent of [home, second, laptop]) {
    await until('the owner decided', async () => {
      const { places, alarms } = await agent.client.deployment(id);
      return places.find(({ name }) => name === 'laptop')?.peer === node && alarms.length === 0;
    });
  }
  await until('the other is out', async () => {
    const { places } = await thief.client.deployment(id);
    return places.every(({ self, connected }) => self || !connected);
  });
});
