import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import { createNodeKey, loadOrCreateNodeKey } from '@moat/identity';
import { createManualClock } from '@moat/testkit';
import { KeyRotation, takeNodeKey } from '../src/key-rotation.ts';
import { Chain } from './chain.ts';
import { SteppedClock } from './stepped-clock.ts';
import { Agent, Owner, exchange, listenerOf, startEcho, until } from './world.ts';

test('the next key takes over when no place needs the old one any more, and only then', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'moat-rotation-'));
  t.after(() => rm(directory, { recursive: true }));
  const old = await loadOrCreateNodeKey(join(directory, 'node.key'));
  const next = await loadOrCreateNodeKey(join(directory, 'node.key.next'));
  const [shop, zoo] = [new Chain(old), new Chain(old)];
  const [home, laptop] = shop.next({}, { keep: false }).contract.members;
  assert.ok(home !== undefined && laptop !== undefined);
  const named = { members: [{ ...home, node: next.peerId }, laptop] };
  const held = (one: Chain, changes = {}): { contract: NonNullable<Chain['contract']>; claims: never[] } => ({
    contract: one.next(changes, { keep: false }).contract,
    claims: [],
  });
  const take = async (...all: ReturnType<typeof held>[]): Promise<string> =>
    (await takeNodeKey(directory, () => all)).peerId;
  assert.equal(await take(), old.peerId);
  assert.equal(await take(held(shop)), old.peerId);
  assert.equal(await take(held(shop, { members: [{ ...home, node: createNodeKey().peerId }] })), old.peerId);
  assert.equal(await take(held(shop, named), held(zoo)), old.peerId);
  assert.deepEqual((await readdir(directory)).sort(), ['node.key', 'node.key.next']);
  // As often as it may crash around the rename: before it, all is as it was; after it, it is over.
  assert.equal(await take(held(shop, named), held(zoo, { ...named })), next.peerId);
  assert.deepEqual(await readdir(directory), ['node.key']);
  assert.equal(await take(held(shop, named)), next.peerId);
});

test('a version that names the next key while the agent starts is not missed', async (t) => {
  const stateDir = await mkdtemp(join(tmpdir(), 'moat-rotation-'));
  t.after(() => rm(stateDir, { recursive: true }));
  const next = await loadOrCreateNodeKey(join(stateDir, 'node.key.next'));
  const { contract } = new Chain(next).next();
  const clock = createManualClock();
  let restarts = 0;
  const rotation = new KeyRotation({
    stateDir,
    self: createNodeKey().peerId,
    deployments: { list: () => [{ contract, currentClaims: [] }] } as never,
    look: () => Promise.resolve(),
    isKnown: () => true,
    clock,
    logger: silentLogger,
    restart: () => void restarts++,
  });
  // The overlay runs before: its news came when nothing of the next key was known.
  rotation.changed();
  await rotation.start();
  clock.advance(1000);
  assert.equal(restarts, 1);
  rotation.stop();
});

test('a machine changes its key while its network runs; the old PeerId is nobody then', async () => {
  const clock = new SteppedClock();
  await using home = await Agent.start();
  await using db = await Agent.start({ clock });
  await using echo = await startEcho('db:');
  const owner = new Owner(home);
  await owner.apply({
    members: [await owner.pinned('home', 2, home, { keeper: true }), await owner.pinned('db-1', 3, db)],
    services: [{ name: 'db', on: ['db-1'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' }],
    access: [{ from: ['home'], to: ['db'] }],
  });
  const id = owner.deployment;
  await db.client.join({ token: await owner.locator(), expose: [{ target: `127.0.0.1:${echo.port}` }] });
  const before = await db.peerId();
  const rotation = await db.client.rotateKey();
  assert.deepEqual(await db.client.rotateKey(), rotation);
  assert.deepEqual([rotation.current, rotation.places[0]?.member], [before, 'db-1']);
  assert.ok((await db.client.status()).warnings.some(({ code }) => code === 'KEY_ROTATION_WAITING'));
  // Begun once, it goes on over a restart.
  await db.stop();
  await db.start();
  assert.deepEqual((await db.client.rotateKey()).next, rotation.next);
  await until('db is back', async () =>
    (await home.client.deployment(id)).places.some(({ name, connected }) => name === 'db-1' && connected),
  );

  await owner.apply({
    members: owner.contract.members.map((each) => (each.name === 'db-1' ? { ...each, node: rotation.next } : each)),
  });
  await until('the old PeerId is cut off', async () => (await home.client.status()).connections === 0);
  // It is told nothing by the old key; it looks with the next one.
  clock.pass(31_000);
  await until('it has the version', async () => (await db.client.deployment(id)).version === 1);
  clock.pass(1000);
  await until('it restarts', async () => (await db.client.status().catch(() => null))?.peerId === rotation.next);
  await db.restarted;
  assert.deepEqual(
    (await readdir(db.stateDir)).filter((name) => name.startsWith('node.key')),
    ['node.key'],
  );
  const listener = await listenerOf(home, id, 'db');
  await until('db answers', async () => (await exchange(listener, 'x').catch(() => '')) === 'db:x');
  assert.ok((await home.client.status()).links.every(({ peer }) => peer !== before));
});
