import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { createManualClock, type ManualClock } from '@moat/testkit';
import { Deployment } from '../src/deployments/deployment.ts';
import { Freshness } from '../src/deployments/freshness.ts';
import { FreshnessWatch } from '../src/deployments/freshness-watch.ts';
import { Database } from '../src/store/database.ts';
import { DeploymentStore } from '../src/store/deployment-store.ts';
import { Chain } from './chain.ts';
import { SteppedClock } from './stepped-clock.ts';
import { Agent, Owner, listenerOf, startEcho, until } from './world.ts';

const HOUR = 3_600_000;
const MAX_STALE = 4 * HOUR;

test('no clock makes an age younger, and one set forward makes it older', () => {
  const age = new Freshness({ ageMs: 0, at: 1000 });
  assert.equal(age.age(5000), 4000);
  assert.equal(age.age(500), 0);
  age.passed(3000, 500);
  assert.equal(age.age(500), 3000);
  age.passed(100, 90_500);
  assert.equal(age.age(90_500), 93_000);
  age.confirm(90_500);
  assert.equal(age.age(90_600), 100);
});

/** A member of a network with `maxStale`, its watch on a manual clock whose wall clock can be set. */
class Bench implements Disposable {
  readonly clock: ManualClock = createManualClock();
  readonly keepers: readonly NodeKey[];
  readonly member: NodeKey = createNodeKey();
  readonly database: Database;
  readonly turns: string[] = [];
  writes = 0;
  #offset = 0;
  deployment!: Deployment;
  watch!: FreshnessWatch;

  constructor(directory: string, keepers = 2, self?: NodeKey) {
    this.keepers = Array.from({ length: keepers }, createNodeKey);
    this.database = Database.open(join(directory, 'node.db'));
    const chain = new Chain(this.keepers[0] as NodeKey);
    const [home, laptop] = (chain.next({}, { keep: false }).contract.members ?? []) as [never, never];
    const others = this.keepers.slice(1).map((key, i) => ({
      name: `keeper-${i}`,
      node: key.peerId,
      ipv4: `10.77.1.${i + 2}`,
      tags: [],
      keeper: true as const,
    }));
    const member = { name: 'web', node: this.member.peerId, ipv4: '10.77.0.9', tags: [] };
    const { proof, contract } = chain.next({
      network: { ipv4: '10.77.0.0/16', plane: 'rootless', maxStale: MAX_STALE },
      members: [home, laptop, ...others, member],
    });
    new DeploymentStore(this.database).saveVersion(proof, contract, this.now());
    this.open(self);
  }

  now(): number {
    return this.clock.now() + this.#offset;
  }

  /** As an agent does when it starts. */
  open(self: NodeKey = this.member): void {
    this.watch?.stop();
    const store = new DeploymentStore(this.database);
    const [stored] = store.load();
    if (stored === undefined) throw new Error('nothing stored');
    this.deployment = new Deployment(stored, self.peerId, this.now());
    this.watch = new FreshnessWatch({
      time: { now: () => this.now(), after: (delayMs, act) => this.clock.after(delayMs, act) },
      logger: silentLogger,
      store: {
        saveAge: (...args) => {
          this.writes += 1;
          store.saveAge(...args);
        },
      },
      deployments: () => [this.deployment],
      onTurn: (_, from, to) => this.turns.push(`${from} ${to}`),
    });
    this.watch.watch(this.deployment);
  }

  get staleness(): string {
    return this.deployment.staleness(this.now());
  }

  set(byMs: number): void {
    this.#offset += byMs;
  }

  confirm(by: NodeKey | undefined): void {
    if (by !== undefined) this.watch.confirmed(this.deployment, by.peerId);
  }

  [Symbol.dispose](): void {
    this.watch.stop();
    this.database.close();
  }
}

async function temporary(t: { after(run: () => Promise<void>): void }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'moat-freshness-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

test('half of the time warns, the rest stops, one confirmation of a keeper restores', async (t) => {
  using bench = new Bench(await temporary(t));
  bench.clock.advance(MAX_STALE / 2 - 1);
  assert.deepEqual(bench.turns, []);
  bench.clock.advance(1);
  assert.deepEqual(bench.turns, ['fresh aging']);
  bench.clock.advance(MAX_STALE / 2 - 1);
  assert.equal(bench.staleness, 'aging');
  bench.clock.advance(1);
  assert.deepEqual(bench.turns, ['fresh aging', 'aging stale']);
  bench.confirm(bench.keepers[1]);
  assert.deepEqual(bench.turns.slice(2), ['stale fresh']);
  assert.equal(bench.deployment.ageMs(bench.now()), 0);
});

test('nobody but a pinned keeper keeps a partition alive', async (t) => {
  using bench = new Bench(await temporary(t));
  for (let i = 0; i < 48; i++) {
    bench.clock.advance(MAX_STALE / 48);
    // A member, this machine itself, a stranger.
    bench.confirm(bench.member);
    bench.confirm(createNodeKey());
  }
  assert.equal(bench.staleness, 'stale');
});

test('the only keeper is never stale; of two each needs the other', async (t) => {
  using alone = new Bench(await temporary(t), 1);
  alone.open(alone.keepers[0]);
  alone.clock.advance(100 * MAX_STALE);
  assert.deepEqual([alone.staleness, alone.deployment.ageMs(alone.now())], ['fresh', 0]);

  using pair = new Bench(await temporary(t), 2);
  const [one, other] = pair.keepers;
  pair.open(one);
  pair.clock.advance(MAX_STALE);
  assert.equal(pair.staleness, 'stale');
  pair.confirm(one);
  assert.equal(pair.staleness, 'stale');
  pair.confirm(other);
  assert.equal(pair.staleness, 'fresh');
});

test('a clock set back does not extend it, one set forward ends it, also over restarts', async (t) => {
  using bench = new Bench(await temporary(t));
  bench.clock.advance(MAX_STALE / 4);
  for (let i = 0; i < 20; i++) {
    bench.set(-MAX_STALE);
    bench.clock.advance(MAX_STALE / 20);
    bench.open();
  }
  assert.equal(bench.staleness, 'stale');
  bench.set(20 * MAX_STALE);
  bench.confirm(bench.keepers[0]);
  assert.equal(bench.staleness, 'fresh');
  bench.set(MAX_STALE);
  assert.equal(bench.staleness, 'stale');
  bench.clock.advance(30_000);
  assert.equal(bench.turns.at(-1), 'fresh stale');
  bench.open();
  assert.equal(bench.turns.at(-1), 'fresh stale');
});

test('changes that come in faster than it looks do not stop the age of a clock that was set back', async (t) => {
  using bench = new Bench(await temporary(t));
  bench.set(-MAX_STALE);
  for (let passed = 0; passed < MAX_STALE; passed += 20_000) {
    bench.clock.advance(20_000);
    bench.watch.watch(bench.deployment);
  }
  assert.equal(bench.staleness, 'stale');
});

test('the age on disk is as old or older after a crash, and is not written for every confirmation', async (t) => {
  using bench = new Bench(await temporary(t));
  for (let minute = 0; minute < 120; minute++) {
    bench.clock.advance(60_000);
    bench.confirm(bench.keepers[0]);
  }
  assert.ok(bench.writes <= 12, `${bench.writes} writes in two hours`);
  const [stored] = new DeploymentStore(bench.database).load();
  const onDisk = new Freshness(stored?.age ?? { ageMs: 0, at: 0 }).age(bench.now());
  assert.ok(onDisk >= bench.deployment.ageMs(bench.now()) && onDisk <= 600_000);
});

test('a stale machine opens nothing, serves nothing and ends what runs; a keeper back restores it', async () => {
  const clock = new SteppedClock();
  await using anchor = await Agent.start({ flags: { anchor: true } });
  await using keeper = await Agent.start();
  await using app = await Agent.start({ clock });
  await using db = await Agent.start();
  await using echo = await startEcho();
  const owner = new Owner(keeper);
  await owner.apply({
    network: { ipv4: '10.77.0.0/16', plane: 'rootless', maxStale: HOUR },
    anchors: (await anchor.client.status()).addresses,
    members: [await owner.pinned('home', 2, keeper, { keeper: true })],
  });
  const [appPlace, dbPlace] = [owner.invited('app', 3), owner.invited('db-1', 4)];
  await owner.apply({
    members: [...owner.contract.members, appPlace.member, dbPlace.member],
    services: [
      { name: 'db', on: ['db-1'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' },
      { name: 'own', on: ['app'], port: 5433, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' },
    ],
    access: [
      { from: ['app'], to: ['db'] },
      { from: ['db-1'], to: ['own'] },
    ],
  });
  const id = owner.deployment;
  await app.client.join({ token: await appPlace.token(), expose: [{ target: `127.0.0.1:${echo.port}` }] });
  await db.client.join({ token: await dbPlace.token(), expose: [{ target: `127.0.0.1:${echo.port}` }] });
  const [out, inward] = [await listenerOf(app, id, 'db'), await listenerOf(db, id, 'own')];
  const answers = (to: { host: string; port: number }): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(to.port, to.host);
      socket.on('error', () => undefined).on('close', () => resolve(false));
      socket.on('data', () => {
        resolve(true);
        socket.destroy();
      });
      socket.write('x');
    });
  await until('db answers', () => answers(out));
  await until('own answers', () => answers(inward));
  const running = connect(out.port, out.host).on('error', () => undefined);
  running.write('x');
  await once(running, 'data');
  const served = connect(inward.port, inward.host).on('error', () => undefined);
  served.write('x');
  await once(served, 'data');

  await keeper.stop();
  const ended = Promise.all([running, served].map((socket) => new Promise((done) => socket.on('close', done))));
  clock.pass(HOUR + 60_000);
  await ended;
  assert.equal(await answers(out), false);
  assert.equal(await answers(inward), false);
  const { freshness } = await app.client.deployment(id);
  assert.equal(freshness.state, 'stale');
  await assert.rejects(app.client.ping(id, { target: 'db' }), { code: 'STALE' });
  assert.deepEqual((await app.client.status()).links, []);
  // db-1 is connected, holds the same head, and is no keeper: nothing changes.
  await until('they are connected', async () =>
    (await app.client.deployment(id)).places.some(({ name, connected }) => name === 'db-1' && connected),
  );
  clock.pass(11 * 60_000);
  assert.equal((await app.client.deployment(id)).freshness.state, 'stale');
  // A restart forgets nothing.
  await app.stop();
  await app.start();
  assert.equal((await app.client.deployment(id)).freshness.state, 'stale');

  await keeper.start();
  await until('fresh again', async () => (await app.client.deployment(id)).freshness.state === 'fresh');
  const again = await listenerOf(app, id, 'db');
  await until('db answers again', () => answers(again));
  await until('own answers again', () => answers(inward));
});
