import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatTime, parseMemberClaim, type Member } from '@moat/contract';
import { MoatError, type Tunnels } from '@moat/core';
import { createMemoryTunnels, type MemoryTunnels } from '@moat/wireguard';
import { SteppedClock } from '../stepped-clock.ts';
import { Agent, Owner, startEcho, until } from '../world.ts';

interface Pair {
  readonly owner: Owner;
  readonly one: Agent;
  readonly two: Agent;
  readonly tunnels: { readonly one: MemoryTunnels; readonly two: MemoryTunnels };
  readonly member: Member;
}

/** home (keeper, offers db) and web, which joined by token and may reach db. */
async function grow(stack: AsyncDisposableStack): Promise<Pair> {
  const echo = stack.use(await startEcho());
  const tunnels = { one: createMemoryTunnels(), two: createMemoryTunnels() };
  const one = stack.use(await Agent.start({ tunnels: tunnels.one }));
  const two = stack.use(await Agent.start({ tunnels: tunnels.two }));
  const owner = new Owner(one);
  const place = owner.invited('web', 3);
  await owner.apply({
    network: { ipv4: '10.77.0.0/16', plane: 'auto' },
    members: [await owner.pinned('home', 2, one, { keeper: true }), place.member],
    services: [{ name: 'db', on: ['home'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' }],
    access: [{ from: ['web'], to: ['db'] }],
  });
  await one.client.expose({ deployment: 'shop', target: String(echo.port) });
  await two.client.join({ token: await place.token() });
  return { owner, one, two, tunnels, member: place.member };
}

async function keysOf(agent: Agent): Promise<Record<string, string | null>> {
  const { claims } = await agent.client.deployment('shop');
  return Object.fromEntries(
    claims.map((claim) => {
      const { member, wireguard } = parseMemberClaim(claim).details;
      return [member, wireguard];
    }),
  );
}

test('a machine that joins tells its key; a pinned one tells it when it gets an interface', async () => {
  await using stack = new AsyncDisposableStack();
  const { one, two, tunnels } = await grow(stack);
  const { web } = await keysOf(one);
  assert.match(web ?? '', /^[\w+/]{43}=$/);
  const directory = join(two.stateDir, 'wireguard');
  const [file = ''] = await readdir(directory);
  assert.equal((await stat(join(directory, file))).mode & 0o777, 0o600);

  const off = await one.client.wireguard('shop');
  assert.deepEqual([off.state, off.member, off.interface, off.key.public], ['off', 'home', null, null]);
  const up = await one.client.wireguardUp('shop', {});
  assert.equal(up.state, 'up');
  assert.deepEqual(
    up.peers.map(({ member, key, path }) => [member, key, path]),
    [['web', web, 'asleep']],
  );
  assert.equal(up.backend, 'memory');
  assert.ok((up.port ?? 0) >= 51_820);
  assert.deepEqual(await tunnels.one.list(), [up.interface]);
  assert.equal((await keysOf(one))['home'], up.key.public);

  // The other side hears of the key by the claim alone.
  await two.client.wireguardUp('shop', {});
  const peer = await until('the key of home', async () => (await two.client.wireguard('shop')).peers[0]);
  assert.deepEqual([peer.member, peer.key], ['home', up.key.public]);
});

test('an interface stays when the agent stops, is adopted when it starts, and goes with down', async () => {
  await using stack = new AsyncDisposableStack();
  const { one, tunnels } = await grow(stack);
  const { interface: name, port } = await one.client.wireguardUp('shop', {});
  await one.stop();
  assert.deepEqual(await tunnels.one.list(), [name]);
  await one.start();
  const again = await until('up', async () => {
    const status = await one.client.wireguard('shop');
    return status.state === 'up' && status;
  });
  assert.deepEqual([again.interface, again.port], [name, port]);
  await one.client.wireguardDown('shop');
  assert.deepEqual(await tunnels.one.list(), []);
  assert.equal((await one.client.wireguard('shop')).state, 'off');
  await one.stop();
  await one.start();
  assert.deepEqual(await tunnels.one.list(), []);
});

test('what the owners take away leaves the interface at once; the end of the network takes it away', async () => {
  await using stack = new AsyncDisposableStack();
  const { owner, one, tunnels } = await grow(stack);
  const { interface: name } = await one.client.wireguardUp('shop', {});
  assert.equal(tunnels.one.spec(name ?? '')?.peers.length, 1);
  await owner.apply({ access: [] });
  await until('no peer', async () => tunnels.one.spec(name ?? '')?.peers.length === 0, 2000);
  await owner.apply({ access: [{ from: ['web'], to: ['db'] }] });
  await until('peer', async () => tunnels.one.spec(name ?? '')?.peers.length === 1, 2000);
  await owner.apply({ state: 'ended' });
  await until('no interface', async () => (await tunnels.one.list()).length === 0, 2000);
});

test('the next key takes over with the version that names it, and the old one is gone', async () => {
  await using stack = new AsyncDisposableStack();
  const { owner, one, two } = await grow(stack);
  await one.client.wireguardUp('shop', {});
  await two.client.wireguardUp('shop', {});
  const { key: before } = await one.client.wireguard('shop');
  // A version pins what was claimed; then a claim alone changes nothing.
  const [home, web] = owner.contract.members as [Member, Member];
  const { invite: _, ...vacant } = web;
  const { web: key } = await keysOf(one);
  const pinned = [
    { ...home, wireguard: before.public ?? '' },
    { ...vacant, node: await two.peerId(), wireguard: key ?? '' },
  ];
  await owner.apply({ members: pinned });
  const rotated = await two.client.wireguardRotateKey('shop');
  assert.deepEqual([rotated.key.public, rotated.key.told], [key, true]);
  assert.notEqual(rotated.key.next, null);
  assert.deepEqual((await two.client.wireguardRotateKey('shop')).key, rotated.key);
  const { web: claimed } = await keysOf(one);
  assert.equal(claimed, rotated.key.next);
  await owner.apply({ members: [pinned[0] as Member, { ...(pinned[1] as Member), wireguard: claimed ?? '' }] });
  await until('the next key', async () => {
    const { key: now, state } = await two.client.wireguard('shop');
    return state === 'up' && now.public === claimed && now.next === null;
  });
  const { peers } = await one.client.wireguard('shop');
  assert.deepEqual(
    peers.map(({ key: each }) => each),
    [claimed],
  );
  assert.equal((await readdir(join(two.stateDir, 'wireguard'))).length, 1);
});

test('a place that was lost while no agent ran leaves no interface behind', async () => {
  await using stack = new AsyncDisposableStack();
  const clock = new SteppedClock();
  const tunnels = createMemoryTunnels();
  const one = stack.use(await Agent.start());
  const two = stack.use(await Agent.start({ tunnels, clock }));
  const owner = new Owner(one);
  const expires = formatTime(clock.now() + 3_600_000);
  await owner.apply({
    network: { ipv4: '10.77.0.0/16', plane: 'auto' },
    members: [await owner.pinned('home', 2, one, { keeper: true }), await owner.pinned('web', 3, two, { expires })],
  });
  await two.client.join({ token: await owner.locator() });
  await two.client.wireguardUp('shop', {});
  await until('up', async () => (await tunnels.list()).length === 1);
  await two.stop();
  clock.pass(3_600_001);
  await two.start();
  await until('no interface', async () => (await tunnels.list()).length === 0);
});

test('a network that moves into the range of another one is remapped, and leads away nothing of it', async () => {
  await using stack = new AsyncDisposableStack();
  const tunnels = createMemoryTunnels();
  const one = stack.use(await Agent.start({ tunnels }));
  const [shop, zoo] = [new Owner(one), new Owner(one)];
  const home = await shop.pinned('home', 2, one, { keeper: true });
  await shop.apply({ network: { ipv4: '10.77.0.0/16', plane: 'auto' }, members: [home] });
  const animals = [{ ...home, ipv4: '10.78.0.2' }];
  await zoo.apply({ name: 'zoo', network: { ipv4: '10.78.0.0/16', plane: 'auto' }, members: animals });
  await one.client.wireguardUp('shop', {});
  const { interface: name } = await one.client.wireguardUp('zoo', {});
  assert.equal(tunnels.spec(name ?? '')?.remap, undefined);
  await zoo.apply({ network: { ipv4: '10.77.0.0/17', plane: 'auto' }, members: [home] });
  const remap = await until('remapped', async () => tunnels.spec(name ?? '')?.remap);
  assert.equal(remap.network, '10.77.0.0/17');
  assert.match(remap.as, /^100\./);
});

test('an interface that could not be taken away is known until it is', async () => {
  await using stack = new AsyncDisposableStack();
  const memory = createMemoryTunnels();
  let fails = false;
  const tunnels: Tunnels = Object.assign(Object.create(memory) as Tunnels, {
    remove: (name: string) => (fails ? Promise.reject(new MoatError('TUNNEL_FAILED', 'not now')) : memory.remove(name)),
  });
  const one = stack.use(await Agent.start({ tunnels }));
  const owner = new Owner(one);
  await owner.apply({
    network: { ipv4: '10.77.0.0/16', plane: 'auto' },
    members: [await owner.pinned('home', 2, one, { keeper: true })],
  });
  await one.client.wireguardUp('shop', {});
  fails = true;
  await assert.rejects(one.client.wireguardDown('shop'), { code: 'TUNNEL_FAILED' });
  await owner.apply({ state: 'ended' });
  assert.equal((await memory.list()).length, 1);
  fails = false;
  // Also by an agent that was not there when it failed.
  await one.stop();
  await one.start();
  await until('no interface', async () => (await memory.list()).length === 0);
});

test('what cannot be had is refused by its code, and nothing is kept of it', async () => {
  await using stack = new AsyncDisposableStack();
  const { owner, one, two } = await grow(stack);
  await assert.rejects(one.client.wireguardUp('shop', { netns: '/proc/1/ns/none' }), { code: 'NETNS_UNKNOWN' });
  assert.equal((await one.client.wireguard('shop')).state, 'off');
  const { port } = await two.client.wireguardUp('shop', {});
  await assert.rejects(one.client.wireguardUp('zoo', {}), { code: 'DEPLOYMENT_UNKNOWN' });
  await owner.apply({ network: { ipv4: '10.77.0.0/16', plane: 'rootless' } });
  await assert.rejects(one.client.wireguardUp('shop', {}), { code: 'PLANE_ROOTLESS' });
  await until('no interface', async () => (await two.client.wireguard('shop')).interface === null);
  assert.notEqual(port, null);
});

test('without the tools the command says so', async () => {
  await using one = await Agent.start();
  const owner = new Owner(one);
  await owner.apply({
    network: { ipv4: '10.77.0.0/16', plane: 'auto' },
    members: [await owner.pinned('home', 2, one, { keeper: true })],
  });
  await assert.rejects(one.client.wireguardUp('shop', {}), { code: 'TUNNEL_TOOL_MISSING' });
});
