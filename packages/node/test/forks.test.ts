/** A fork as machines live it: real agents, two histories signed apart, one end. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import {
  extendProof,
  mergedBranch,
  mergingHead,
  parseContract,
  parseHeadProof,
  proposalOf,
  signHead,
  type Contract,
  type HeadProof,
  type SignedHead,
} from '@moat/contract';
import type { AgentEvent } from '@moat/admin-api';
import { Database } from '../src/store/database.ts';
import { DeploymentStore } from '../src/store/deployment-store.ts';
import { Team, held, locatorOf, pin } from './team.ts';
import { Agent, Owner, listenerOf, startEcho, until } from './world.ts';

/** Writes a version to the disk of an agent that is off: as if it had taken it while nobody was in reach. */
function takeApart(agent: Agent, proof: HeadProof, contract: Contract): void {
  using database = Database.open(join(agent.stateDir, 'node.db'));
  new DeploymentStore(database).saveVersion(proof, contract, Date.now());
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.on('close', () => resolve()));
}

async function running(to: { host: string; port: number }): Promise<Socket> {
  return until('a stream runs', async () => {
    const socket = connect(to.port, to.host).on('error', () => undefined);
    socket.write('x');
    const answered = await Promise.race([
      new Promise<boolean>((resolve) => socket.on('data', () => resolve(true))),
      closed(socket).then(() => false),
    ]);
    return answered && socket;
  });
}

test(
  'a fork stops what either side removed, on every machine, until the owners end it',
  { timeout: 60_000 },
  async (t) => {
    await using anchor = await Agent.start({ flags: { anchor: true } });
    await using home = await Agent.start();
    await using db = await Agent.start();
    await using app = await Agent.start();
    await using web = await Agent.start();
    await using echo = await startEcho();
    const owner = new Owner(home);
    await owner.apply({
      anchors: (await anchor.client.status()).addresses,
      members: [
        await owner.pinned('home', 2, home, { keeper: true }),
        await owner.pinned('db-1', 3, db),
        await owner.pinned('app', 4, app),
        await owner.pinned('web', 5, web),
      ],
      services: [{ name: 'db', on: ['db-1'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' }],
      access: [{ from: ['app', 'web'], to: ['db'] }],
    });
    const id = owner.deployment;
    const locator = await owner.locator();
    for (const agent of [db, app, web]) await agent.client.join({ token: locator });
    await db.client.expose({ deployment: id, target: `127.0.0.1:${echo.port}` });
    const [ofApp, ofWeb] = [
      await running(await listenerOf(app, id, 'db')),
      await running(await listenerOf(web, id, 'db')),
    ];

    // At home the owner removes app; elsewhere, at once, somebody renames the network.
    const removing = owner.write({
      members: owner.contract.members.filter(({ name }) => name !== 'app'),
      access: [{ from: ['web'], to: ['db'] }],
    });
    const renaming = owner.write({ name: 'shop-b' });
    const base = parseHeadProof((await home.client.deployment(id)).proof);
    const proofOf = ({ contract, signed }: { contract: Contract; signed: SignedHead }): HeadProof =>
      extendProof(base, owner.genesis, signed, contract.owners);
    await home.stop();
    takeApart(home, proofOf(removing), removing.contract);
    await db.client.submitVersion(id, {
      contract: { ...renaming.contract },
      signed: { ...renaming.signed },
      offline: true,
    });
    await until('app has the other version', async () => (await app.client.deployment(id)).name === 'shop-b');
    assert.equal(ofApp.closed, false);

    const events: AgentEvent[] = [];
    const following = new AbortController();
    t.after(() => following.abort());
    void (async () => {
      for await (const event of db.client.events(following.signal)) events.push(event);
    })().catch(() => undefined);
    const ended = closed(ofApp);
    await home.start();
    await ended;
    for (const agent of [home, db, web]) {
      const detail = await until('the alarm stands', async () => {
        const found = await agent.client.deployment(id);
        return found.state === 'forked' && found;
      });
      assert.equal(detail.version, 1);
      const alarm = detail.alarms.find(({ code }) => code === 'HEAD_FORKED')?.message ?? '';
      const branches = await until('both branches', async () => {
        const known = await agent.client.branches(id);
        return known.length === 2 && known[1]?.contract !== null && known;
      });
      for (const { head } of branches) assert.ok(alarm.includes(head), alarm);
      assert.equal(branches[0]?.own, true);
    }
    // What both allow goes on; app is out, and is told nothing: it still says something true.
    ofWeb.write('y');
    await once(ofWeb, 'data');
    assert.equal(
      (await db.client.deployment(id)).places.find(({ name }) => name === 'app'),
      undefined,
    );
    const left = await app.client.deployment(id);
    assert.deepEqual([left.state, left.version], ['active', 1]);
    assert.ok(left.places.every(({ self, connected }) => self || !connected));
    assert.ok(events.some((event) => event.kind === 'alarm' && event.alarm.code === 'HEAD_FORKED'));
    // Also after a restart, and nothing of either branch goes on.
    await db.stop();
    await db.start();
    assert.equal(
      (await db.client.deployment(id)).places.find(({ name }) => name === 'app'),
      undefined,
    );
    assert.equal((await db.client.deployment(id)).state, 'forked');

    // The owners decide: app stays.
    const [ours, theirs] = (await db.client.branches(id)).map(({ proof }) => parseHeadProof(proof));
    assert.ok(ours !== undefined && theirs !== undefined);
    const contract = parseContract({ ...renaming.contract, version: 2 });
    const head = mergingHead(contract, ours, theirs);
    const signed = { head, signatures: [signHead(head, owner.signer)] };
    await home.stop();
    takeApart(home, extendProof(ours, owner.genesis, signed, contract.owners, mergedBranch(ours, theirs)), contract);
    await home.start();
    for (const agent of [home, db, web, app]) {
      const detail = await until('the fork is over', async () => {
        const found = await agent.client.deployment(id);
        return found.version === 2 && found;
      });
      assert.deepEqual([detail.state, detail.alarms, detail.name], ['active', [], 'shop-b']);
      assert.equal((await agent.client.branches(id)).length, 1);
    }
    const back = await running(await listenerOf(app, id, 'db'));
    back.destroy();
    ofWeb.destroy();
  },
);

test('a machine left on a wrong branch joins again by a newer locator, and by no older one', async () => {
  await using home = await Agent.start();
  await using db = await Agent.start();
  const owner = new Owner(home);
  await owner.apply({
    members: [await owner.pinned('home', 2, home, { keeper: true }), await owner.pinned('db-1', 3, db)],
  });
  const id = owner.deployment;
  const base = parseHeadProof((await home.client.deployment(id)).proof);
  const older = await owner.locator();
  await db.client.join({ token: older });
  const wrong = owner.write({ name: 'wrong' });
  await db.stop();
  takeApart(db, extendProof(base, owner.genesis, wrong.signed, wrong.contract.owners), wrong.contract);
  await owner.apply({ name: 'right' });
  await owner.apply({});
  await db.start();
  const left = await until('the fork is seen', async () => {
    const found = await db.client.deployment(id);
    return found.state === 'forked' && found;
  });
  assert.equal(left.name, 'wrong');
  await db.client.join({ token: older });
  assert.equal((await db.client.deployment(id)).state, 'forked');
  const joined = await db.client.join({ token: await owner.locator() });
  assert.deepEqual([joined.version, joined.name, joined.member], [2, 'right', 'db-1']);
  const detail = await db.client.deployment(id);
  assert.deepEqual([detail.state, detail.alarms], ['active', []]);
  await assert.rejects(db.client.version(id, 1), { code: 'VERSION_UNKNOWN' });
});

test('an owner whose machine is on the other branch hears of the fork, and ends it from there', async () => {
  await using home = await Agent.start();
  await using away = await Agent.start();
  const team = new Team(1, 1);
  await team.create(home, [await pin(home, 'home', 2, { keeper: true })]);
  const { id } = team;
  const opened = await team.session(away, 0, { locator: await locatorOf(home, id) });
  await away.client.closeOwnerSession(opened.session);
  const base = await held(away, id);
  const here = await team.propose(away, { name: 'away' }, 0);
  await team.apply(home, { name: 'home' });
  await away.stop();
  const { contract, head, signatures } = here;
  takeApart(away, extendProof(base.proof, team.genesis, { head, signatures }, contract.owners), contract);
  await away.start();
  await assert.rejects(team.session(away, 0), (error) => {
    assert.ok(isMoatError(error, 'HEAD_FORKED'));
    assert.match((error.next ?? []).join(), /moat apply --end-fork/);
    return true;
  });
  const detail = await away.client.deployment(id);
  assert.deepEqual([detail.state, detail.name], ['forked', 'away']);
  const [ours, theirs] = await away.client.branches(id);
  assert.ok(ours?.contract && theirs?.contract);
  assert.deepEqual(
    [ours, theirs].map((branch) => parseContract(branch.contract).name),
    ['away', 'home'],
  );

  // What ends it reaches the keeper as a file: on top of what the keeper holds, with the other branch in it.
  const [branch, other] = [parseHeadProof(ours.proof), parseHeadProof(theirs.proof)];
  const onTop = { contract: parseContract(theirs.contract), head: other.newest.head, proof: other };
  const next = parseContract({ ...contract, version: 2, name: 'whole' });
  const end = team.sign(proposalOf(onTop, next, { ends: branch }), 0);
  await home.client.putProposal(id, { proposal: { ...end } });
  await team.session(away, 0);
  for (const agent of [home, away]) {
    const ended = await agent.client.deployment(id);
    // the end of the fork, and its seal
    assert.deepEqual([ended.state, ended.name, ended.version], ['active', 'whole', 3]);
  }
});
