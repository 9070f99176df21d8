import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isMoatError, silentLogger, systemClock } from '@moat/core';
import { contractDelta, createInvite, headHash } from '@moat/contract';
import { createManualClock } from '@moat/testkit';
import { Heads } from '../src/heads.ts';
import { Deployment, claimFor, introduce, isWith, soon, started, until, type Machine } from './world.fixture.ts';

test('a new version reaches everyone with a path to one that knows, at once', async () => {
  await using alice = await started();
  await using bob = await started();
  await using carol = await started();
  const shop = new Deployment();
  const members = { 'alice!': alice.peer, bob: bob.peer, carol: carol.peer };
  introduce(shop.version(members), alice, bob, carol);
  await until(() => isWith(alice, bob, carol), 'both are at the keeper');
  const next = shop.version(members);
  // bob makes the version; carol hears of it through the keeper only
  bob.view.hold(next);
  const begin = Date.now();
  bob.overlay.announceHead(shop.id);
  await until(() => carol.view.proof(shop.id)?.newest.head.version === 1, 'carol has version 1');
  assert.ok(Date.now() - begin < 5000);
  assert.deepEqual(carol.view.contract(shop.id, 1), next.bytes);
});

test('a version that two keepers show at once is pulled and checked once, and told to neither of them', async () => {
  const shop = new Deployment();
  const { proof, bytes } = shop.version({});
  const keepers = ['alice', 'bob'].map((peer) => ({
    peer,
    closed: soon(),
    admitted: true,
    requests: { take: () => 0 },
  }));
  const [alice, bob] = keepers;
  const opened: string[] = [];
  const { promise: answer, resolve: answerNow } = Promise.withResolvers<Uint8Array>();
  let held: typeof proof | undefined;
  const pulled: string[] = [];
  const heads = new Heads({
    logger: silentLogger,
    clock: systemClock,
    onChanged: () => undefined,
    probation: { all: () => keepers, during: (connection: { peer: string }) => pulled.push(connection.peer) && answer },
    control: { open: ({ peer }: { peer: string }) => Promise.reject(new Error(String(opened.push(peer)))) },
    deployments: {
      sharedWith: () => [shop.id],
      proof: () => held,
      expects: () => true,
      acceptProof: async (_from: string, shown: typeof proof, pull: () => Promise<Uint8Array>) => {
        if (held !== undefined) return 'same';
        assert.deepEqual(await pull(), bytes);
        held = shown;
        return 'accepted';
      },
    },
  } as never);
  const news = { deployment: shop.id, proof, claims: [] };
  const taken = [alice, bob].map((keeper) => heads.take(keeper as never, news));
  answerNow(bytes);
  await Promise.all(taken);
  assert.deepEqual(pulled, ['alice']);
  assert.deepEqual(opened, [], 'both have it');
});

test('who holds an earlier version is given what makes the new one of it, and the whole where that is not known', async () => {
  await using alice = await started();
  await using bob = await started();
  const shop = new Deployment();
  const members = { 'alice!': alice.peer, bob: bob.peer };
  const first = shop.version(members);
  introduce(first, alice, bob);
  await until(() => isWith(alice, bob), 'bob is at the keeper');
  const asked: unknown[] = [];
  for (const version of [1, 2]) {
    const before = alice.view.held.get(shop.id)?.contract ?? first.contract;
    const next = shop.version(members);
    alice.view.delta = (id, head, since) => {
      asked.push([id, head === headHash(next.proof.newest.head), since.version]);
      return version === 1 ? contractDelta(before, next.contract) : undefined;
    };
    alice.view.hold(next);
    alice.overlay.announceHead(shop.id);
    await until(() => bob.view.proof(shop.id)?.newest.head.version === version, `bob has version ${version}`);
    assert.deepEqual(bob.view.contract(shop.id, version), next.bytes);
  }
  assert.deepEqual(asked, [
    [shop.id, true, 0],
    [shop.id, true, 1],
  ]);
});

test('who shows a version and does not give it keeps nobody from it', async () => {
  await using alice = await started();
  await using bob = await started();
  await using carol = await started();
  const shop = new Deployment();
  const members = { 'alice!': alice.peer, bob: bob.peer, 'carol!': carol.peer };
  introduce(shop.version(members), alice, bob, carol);
  await until(() => isWith(bob, alice, carol), 'bob is at both');
  const next = shop.version(members);
  alice.view.hold(next);
  alice.view.contract = () => undefined;
  carol.view.hold(next);
  alice.overlay.announceHead(shop.id);
  carol.overlay.announceHead(shop.id);
  await until(() => bob.view.proof(shop.id)?.newest.head.version === 1, 'bob has version 1');
  assert.deepEqual(bob.view.contract(shop.id, 1), next.bytes);
});

test('a member that a version removes is closed at once and told nothing more', async () => {
  await using alice = await started();
  await using bob = await started();
  await using carol = await started();
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, bob: bob.peer, carol: carol.peer }), alice, bob, carol);
  await until(() => isWith(alice, bob, carol), 'both are at the keeper');
  const next = shop.version({ 'alice!': alice.peer, bob: bob.peer });
  alice.view.hold(next);
  alice.overlay.viewChanged();
  alice.overlay.announceHead(shop.id);
  assert.equal(alice.overlay.connections(carol.peer).length, 0);
  await until(() => bob.view.proof(shop.id)?.newest.head.version === 1, 'bob has version 1');
  await until(() => carol.overlay.connections(alice.peer).length === 0, 'carol is cut off');
  assert.equal(carol.view.proof(shop.id)?.newest.head.version, 0);
});

test('who missed versions gets the newest when it comes back, although it does not know the other yet', async () => {
  await using alice = await started();
  await using dave = await started();
  const shop = new Deployment();
  // dave knows version 0, in which the keeper was another machine
  const other = await started();
  const first = shop.version({ 'old!': other.peer, dave: dave.peer });
  await other.overlay.stop();
  const second = shop.version({ 'alice!': alice.peer, dave: dave.peer });
  dave.view.hold(first);
  alice.view.hold(second);
  dave.view.onChange = () => dave.overlay.viewChanged();
  const connection = await dave.overlay.dial(alice.overlay.addresses(), soon());
  await until(() => dave.view.proof(shop.id)?.newest.head.version === 1, 'dave has version 1');
  await until(() => dave.overlay.shared(connection).includes(shop.id), 'hello ran again');
  assert.deepEqual(dave.view.log, ['proof 1 accepted']);
});

test('who is removed while a comparison with it opens is told nothing of it', async () => {
  const shop = new Deployment();
  const { proof } = shop.version({});
  const connection = { peer: 'bob', closed: soon(), admitted: true };
  const written: string[] = [];
  let isListed = true;
  let isReset = false;
  const stream = {
    write: (bytes: Uint8Array) => Promise.resolve(written.push(Buffer.from(bytes).toString())),
    read: () => Promise.reject(new Error('nothing to read')),
    close: () => Promise.resolve(),
    abort: () => (isReset = true),
  };
  const open = (): Promise<object> => {
    // It takes its time to answer, and a version comes in meanwhile.
    isListed = false;
    return Promise.resolve(stream);
  };
  const deployments = { sharedWith: () => (isListed ? [shop.id] : []), proof: () => proof, claims: () => [] };
  const deps = { logger: silentLogger, clock: systemClock, control: { open }, deployments };
  await new Heads(deps as never).compare(connection as never, shop.id);
  assert.deepEqual(written, [JSON.stringify({ kind: 'compare', deployment: shop.id })]);
  assert.ok(isReset);
});

test('heads and claims are compared on connect, in both directions', async () => {
  await using alice = await started();
  await using bob = await started();
  const invite = createInvite(randomBytes(32));
  const shop = new Deployment();
  const members = { 'alice!': alice.peer, bob: bob.peer, laptop: invite };
  const first = shop.version(members);
  const second = shop.version(members);
  await using laptop = await started();
  alice.view.hold(second);
  const answer = await alice.view.witness(claimFor(shop.id, 'laptop', laptop.key, invite), laptop.peer);
  assert.ok(answer.ok);
  bob.view.hold(first);
  await bob.overlay.dial(alice.overlay.addresses(), soon());
  await until(() => bob.view.proof(shop.id)?.newest.head.version === 1, 'bob has version 1');
  await until(() => bob.view.claims(shop.id).length === 1, 'bob has the claim');
});

test('what was lost on the way is found by the next comparison', async () => {
  const limits = { keepAliveMs: 100, compareMs: 200 };
  await using alice = await started({ limits });
  await using bob = await started({ limits });
  const shop = new Deployment();
  const members = { 'alice!': alice.peer, bob: bob.peer };
  introduce(shop.version(members), alice, bob);
  await bob.overlay.connect(alice.peer, soon());
  for (const knowing of [alice, bob]) {
    const next = shop.version(members);
    knowing.view.hold(next);
    for (const { view } of [alice, bob]) {
      await until(() => view.proof(shop.id)?.newest.head.version === next.contract.version, 'both have it');
    }
  }
});

test('what the disk did not take is told again to who asks', async () => {
  await using alice = await started();
  await using bob = await started();
  const shop = new Deployment();
  const members = { 'alice!': alice.peer, bob: bob.peer };
  introduce(shop.version(members), alice, bob);
  await bob.overlay.connect(alice.peer, soon());
  const take = bob.view.acceptProof.bind(bob.view);
  let isFull = true;
  bob.view.acceptProof = (...news) => (isFull ? Promise.resolve('refused') : take(...news));
  alice.view.hold(shop.version(members));
  alice.overlay.announceHead(shop.id);
  alice.overlay.viewChanged();
  isFull = false;
  bob.overlay.compare(shop.id);
  await until(() => bob.view.proof(shop.id)?.newest.head.version === 1, 'bob has it');
});

test('a keeper that is behind takes the newer head from a member that dials it', async () => {
  await using alice = await started();
  await using bob = await started();
  const shop = new Deployment();
  const members = { 'alice!': alice.peer, bob: bob.peer };
  const first = shop.version(members);
  const second = shop.version(members);
  alice.view.hold(first);
  bob.view.hold(second);
  await bob.overlay.dial(alice.overlay.addresses(), soon());
  await until(() => alice.view.proof(shop.id)?.newest.head.version === 1, 'alice has version 1');
});

test('a machine removed by a version it missed shows an old head and learns nothing', async () => {
  const clock = createManualClock(Date.now());
  await using alice = await started({ clock, limits: { probationMs: 5000 } });
  await using eve = await started({ limits: { probationMs: 60_000 } });
  const shop = new Deployment();
  const first = shop.version({ 'alice!': alice.peer, eve: eve.peer });
  const second = shop.version({ 'alice!': alice.peer });
  eve.view.hold(first);
  alice.view.hold(second);
  let refused: unknown;
  eve.overlay.dial(alice.overlay.addresses(), soon()).catch((error: unknown) => (refused = error));
  await until(() => alice.view.log.includes('proof 0 older'), 'alice saw the old head');
  await until(() => {
    clock.advance(1000);
    return refused !== undefined;
  }, 'alice closes');
  assert.ok(isMoatError(refused, 'PEER_UNREACHABLE'));
  assert.deepEqual(eve.view.log, []);
});

test('a branch beside ours is passed on to every member, with its contract, and once', async () => {
  await using alice = await started();
  await using bob = await started();
  await using carol = await started();
  const shop = new Deployment();
  const members = { 'alice!': alice.peer, bob: bob.peer, carol: carol.peer };
  const first = shop.version(members);
  const ours = shop.version(members);
  shop.newest = first;
  const theirs = shop.version({ 'alice!': alice.peer, bob: bob.peer, carol: carol.peer, 'dave!': alice.peer });
  for (const one of [alice, bob, carol]) one.view.keepsForks = true;
  introduce(ours, alice, carol);
  // both may have dialed: a keeper calls its members, they call it
  await until(() => alice.overlay.connections(carol.peer).length > 0, 'carol is at the keeper');
  // bob brings it to the keeper; carol hears of it through the keeper only
  bob.view.hold(ours);
  bob.view.branches.set(shop.id, [theirs]);
  await bob.overlay.dial(alice.overlay.addresses(), soon());
  await until(() => carol.view.branches.get(shop.id)?.length === 1, 'carol knows it');
  assert.deepEqual(carol.view.branches.get(shop.id)?.[0]?.bytes, theirs.bytes);
  assert.equal(carol.view.proof(shop.id)?.newest.head.version, 1);
  assert.equal(alice.view.log.filter((line) => line === 'proof 1 forked').length, 1);
});

test('contracts are pulled by members only', async () => {
  await using alice = await started();
  await using bob = await started();
  await using mallory = await started();
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  // mallory shares another deployment with alice, so the protocol itself is open to it
  const zoo = new Deployment();
  introduce(zoo.version({ 'alice!': alice.peer, mallory: mallory.peer }), alice, mallory);
  assert.equal(await pull(bob, alice, shop.id), true);
  assert.equal(await pull(mallory, alice, shop.id), false);
  assert.equal(await pull(mallory, alice, 'a'.repeat(26)), false);
  assert.equal(await pull(mallory, alice, zoo.id), true);
  assert.deepEqual(await compare(mallory, alice, shop.id), { version: null, head: null, claims: [] });
});

async function pull(from: Machine, to: Machine, deployment: string): Promise<boolean> {
  const connection = await from.overlay.connect(to.peer, soon());
  const stream = await from.overlay.open(connection, '/moat/heads/1', soon());
  await stream.write(Buffer.from(JSON.stringify({ kind: 'pull', deployment, version: 0 })), soon());
  await stream.close();
  const { found } = JSON.parse(Buffer.from(await stream.read(soon())).toString()) as { found: boolean };
  return found;
}

async function compare(from: Machine, to: Machine, deployment: string): Promise<unknown> {
  const connection = await from.overlay.connect(to.peer, soon());
  const stream = await from.overlay.open(connection, '/moat/heads/1', soon());
  await stream.write(Buffer.from(JSON.stringify({ kind: 'compare', deployment })), soon());
  const summary = Buffer.from(JSON.stringify({ version: null, head: null, claims: [] }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(summary.length);
  await stream.write(length, soon());
  await stream.write(summary, soon());
  await stream.close();
  await stream.read(soon());
  return JSON.parse(Buffer.from(await stream.read(soon())).toString());
}
