import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, systemClock, type Clock } from '@moat/core';
import {
  canonicalBytes,
  createClaim,
  createInvite,
  extendProof,
  headHash,
  signHead,
  witnessClaim,
  type Contract,
  type HeadProof,
  type Member,
  type MemberClaim,
} from '@moat/contract';
import { createNodeKey, createOwnerKey, type NodeKey } from '@moat/identity';
import type { JoinAnswer } from '@moat/overlay';
import { Deployments, type Change } from '../src/deployments/deployments.ts';
import { Keeper } from '../src/deployments/keeper.ts';
import { EventFeed } from '../src/event-feed.ts';
import { LocalTime } from '../src/local-time.ts';
import { takeVersion } from '../src/owners/signed-version.ts';
import { Database } from '../src/store/database.ts';
import { DeploymentStore } from '../src/store/deployment-store.ts';
import { MachineStore } from '../src/store/machine-store.ts';
import { Chain, type Version } from './chain.ts';

const PEER = createNodeKey().peerId;

class Bench implements AsyncDisposable {
  readonly directory: string;
  readonly key: NodeKey;
  readonly changes: Change[] = [];
  readonly unkept: string[] = [];
  readonly clock: { -readonly [K in 'now']: Clock[K] } & Clock = { ...systemClock };
  database!: Database;
  deployments!: Deployments;
  keeper!: Keeper;
  time!: LocalTime;

  constructor(directory: string, key: NodeKey) {
    this.directory = directory;
    this.key = key;
    this.open();
  }

  static async create(key: NodeKey = createNodeKey()): Promise<Bench> {
    return new Bench(await mkdtemp(join(tmpdir(), 'moat-deployments-')), key);
  }

  open(): void {
    this.database = Database.open(join(this.directory, 'node.db'));
    const store = new DeploymentStore(this.database);
    this.time = new LocalTime({ clock: this.clock, store: new MachineStore(this.database) });
    const self = this.key.peerId;
    const logger = silentLogger;
    this.deployments = new Deployments({
      self,
      store,
      write: (work) => this.database.write(work),
      time: this.time,
      logger,
      feed: new EventFeed(() => this.time.now()),
      onChange: (change) => this.changes.push(change),
      onUnkept: (id) => this.unkept.push(id),
    });
    this.deployments.load();
    const { deployments, time } = this;
    this.keeper = new Keeper({ self, signer: this.key.signer, deployments, store, time, logger });
  }

  reopen(): void {
    this.database.close();
    this.open();
  }

  offer({ proof, contract }: { proof: HeadProof; contract: Contract }): Promise<string> {
    return this.deployments.offerProof(PEER, proof, () => Promise.resolve(canonicalBytes(contract)));
  }

  offerClaim(claim: MemberClaim): boolean {
    return this.deployments.offerClaims(PEER, claim.claim.deployment, [claim]).length > 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.database.close();
    await rm(this.directory, { recursive: true });
  }
}

/** A keeper that holds version 0. */
async function begin(): Promise<{
  bench: Bench;
  chain: Chain;
  id: string;
  version0: { proof: HeadProof; contract: Contract };
}> {
  const bench = await Bench.create();
  const chain = new Chain(bench.key);
  const version0 = chain.next();
  const { proof, contract } = version0;
  bench.deployments.create(proof.genesis, contract, proof.newest);
  return { bench, chain, id: contract.deployment, version0 };
}

test('versions are taken in order, skipped ones too; older ones are refused, before and after a restart', async () => {
  const { bench, chain, id, version0 } = await begin();
  await using _ = bench;
  const version1 = chain.next();
  const version2 = chain.next();
  const version3 = chain.next();
  assert.equal(await bench.offer(version1), 'accepted');
  assert.equal(await bench.offer(version1), 'same');
  assert.equal(await bench.offer(version3), 'accepted');
  for (const old of [version0, version1, version2]) assert.equal(await bench.offer(old), 'older');
  bench.reopen();
  assert.equal(bench.deployments.get(id)?.contract.version, 3);
  for (const old of [version0, version1, version2]) assert.equal(await bench.offer(old), 'older');
  assert.equal(await bench.offer(version3), 'same');
  assert.equal(bench.deployments.get(id)?.forked, false);
});

test('a change says who brought it: the overlay passes on what peers bring, we what is new here', async () => {
  const { bench, chain } = await begin();
  await using _ = bench;
  assert.equal(await bench.offer(chain.next()), 'accepted');
  bench.offerClaim(chain.claim(chain.invite).claim);
  const { proof, contract } = chain.next();
  bench.deployments.adopt(bench.key.peerId, { proof, contract, claims: [] });
  assert.deepEqual(
    bench.changes.map(({ kind, from }) => [kind, from]),
    [
      ['version', undefined],
      ['version', PEER],
      ['claim', PEER],
      ['version', undefined],
    ],
  );
});

test('a forged head, a foreign contract and an unknown deployment are refused', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const forged = chain.next({ name: 'evil' }, { keep: false, owner: createOwnerKey() });
  assert.equal(await bench.offer(forged), 'refused');
  const version1 = chain.next({}, { keep: false });
  const other = chain.next({ name: 'evil' }, { keep: false });
  assert.equal(await bench.offer({ proof: version1.proof, contract: other.contract }), 'refused');
  assert.equal(
    await bench.deployments.offerProof(PEER, version1.proof, () => Promise.reject(new Error('gone'))),
    'refused',
  );
  assert.equal(await bench.offer(new Chain(bench.key).next()), 'refused');
  assert.equal(bench.deployments.get(id)?.contract.version, 0);
  assert.equal(await bench.offer(version1), 'accepted');
});

test('two offers at once cannot both pass the same pin', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const version1 = chain.next();
  const version2 = chain.next();
  const slow = Promise.withResolvers<Uint8Array>();
  const first = bench.deployments.offerProof(PEER, version1.proof, () => slow.promise);
  assert.equal(await bench.offer(version2), 'accepted');
  slow.resolve(canonicalBytes(version1.contract));
  assert.equal(await first, 'older');
  assert.equal(bench.deployments.get(id)?.contract.version, 2);
});

test('a fork is kept, alarmed and stops further versions, also after a restart', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const branch = chain.next({ name: 'shop-b' }, { keep: false });
  const version1 = chain.next();
  assert.equal(await bench.offer(version1), 'accepted');
  assert.equal(await bench.offer(branch), 'forked');
  const check = (): void => {
    const deployment = bench.deployments.get(id);
    assert.equal(deployment?.contract.name, 'shop');
    assert.equal(deployment.forked, true);
    const alarms = deployment.alarms.filter(({ code }) => code === 'HEAD_FORKED');
    assert.equal(alarms.length, 1);
    assert.ok(alarms[0]?.message.includes(deployment.head) && alarms[0].message.includes(chain.owner.key));
  };
  check();
  assert.equal(await bench.offer(branch), 'refused');
  const version2 = chain.next();
  assert.equal(await bench.offer(version2), 'refused');
  check();
  bench.reopen();
  check();
  const deployment = bench.deployments.find(id);
  const shown = { proof: version2.proof, contract: canonicalBytes(version2.contract) };
  assert.throws(() => takeVersion(bench.deployments, deployment, shown, bench.key.peerId), { code: 'HEAD_FORKED' });
});

test('what either branch of a fork removed is denied, also after a restart, whoever had it first', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const [one, two, three] = [createNodeKey().peerId, createNodeKey().peerId, createNodeKey().peerId];
  const place = (name: string, node: string, host: number): Member => ({
    name,
    node,
    ipv4: `10.77.0.${host}`,
    tags: [],
  });
  const [home] = (chain.contract as Contract).members as [Member];
  const service = { name: 'db', on: ['home'], port: 5432, target: '127.0.0.1:5432', protocol: 'tcp' as const };
  const all = {
    members: [home, place('one', one, 5), place('two', two, 6)],
    services: [service],
    access: [
      { from: ['one'], to: ['db'] },
      { from: ['two'], to: ['db'] },
    ],
  };
  assert.equal(await bench.offer(chain.next(all)), 'accepted');
  // The other branch removes one, adds three; ours takes the grant of two.
  const other = chain.next(
    {
      members: [home, place('two', two, 6), place('three', three, 7)],
      services: [service],
      access: [{ from: ['two', 'three'], to: ['db'] }],
    },
    { keep: false },
  );
  assert.equal(await bench.offer(chain.next({ ...all, access: [{ from: ['one'], to: ['db'] }] })), 'accepted');
  const { contract, head } = bench.deployments.find(id);
  assert.deepEqual(bench.deployments.find(id).linkable, new Set([one]));
  assert.equal(await bench.offer(other), 'forked');
  const check = (): void => {
    const deployment = bench.deployments.find(id);
    assert.deepEqual([deployment.contract, deployment.head], [contract, head]);
    assert.deepEqual(deployment.linkable, new Set());
    assert.deepEqual(deployment.audience, new Set([bench.key.peerId, two]));
    assert.deepEqual(deployment.view.contract.access, []);
  };
  check();
  bench.reopen();
  check();
});

test('a branch whose contract nobody gives yet alarms all the same, and is asked for again', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const other = chain.next({ name: 'shop-b' }, { keep: false });
  assert.equal(await bench.offer(chain.next()), 'accepted');
  const gone = (): Promise<Uint8Array> => Promise.reject(new Error('gone'));
  assert.equal(await bench.deployments.offerProof(PEER, other.proof, gone), 'forked');
  assert.equal(bench.deployments.find(id).forked, true);
  assert.equal(await bench.deployments.offerProof(PEER, other.proof, gone), 'refused');
  // Another contract than the one its head names changes nothing.
  assert.equal(await bench.offer({ proof: other.proof, contract: chain.contract as Contract }), 'refused');
  assert.equal(bench.deployments.find(id).forks.list()[0]?.contract, null);
  bench.reopen();
  assert.equal(await bench.offer(other), 'forked');
  assert.equal(await bench.offer(other), 'refused');
  bench.reopen();
  assert.deepEqual(bench.deployments.find(id).forks.list()[0], other);
});

test('a branch that goes on is one branch, known by its newest head', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const ours = chain.next({ name: 'shop-a' }, { keep: false });
  const theirs = [chain.next({ name: 'shop-b' }), chain.next()];
  assert.equal(await bench.offer(ours), 'accepted');
  for (const version of theirs) assert.equal(await bench.offer(version), 'forked');
  const check = (): void => {
    const deployment = bench.deployments.find(id);
    assert.deepEqual(deployment.forks.list(), [theirs[1]]);
    assert.equal(deployment.alarms.length, 1);
  };
  check();
  bench.reopen();
  check();
});

test('a version that ends the fork is taken from either branch, and the alarm with it', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  await using other = await Bench.create();
  await using unaware = await Bench.create();
  const left = chain.next({ name: 'left' }, { keep: false });
  const right = chain.next({ name: 'right' }, { keep: false });
  for (const [each, own, others] of [
    [bench, left, right],
    [other, right, left],
    [unaware, right, null],
  ] as const) {
    if (each === bench) assert.equal(await each.offer(own), 'accepted');
    else each.deployments.adopt(PEER, { ...own, claims: [] });
    if (others !== null) assert.equal(await each.offer(others), 'forked');
  }
  const healed = chain.merge(left, right);
  const after = chain.next({ name: 'later' });
  for (const each of [bench, other, unaware]) {
    assert.equal(await each.offer(healed), 'accepted');
    each.reopen();
    assert.deepEqual([each.deployments.find(id).forked, each.deployments.find(id).alarms], [false, []]);
    // The branch that ended is old news now.
    assert.equal(await each.offer(right), 'older');
    assert.equal(await each.offer(after), 'accepted');
  }
});

test('a version that ends another fork than this does not lift it', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const [one, two, three] = ['one', 'two', 'three'].map((name) => chain.next({ name }, { keep: false })) as [
    Version,
    Version,
    Version,
  ];
  assert.equal(await bench.offer(one), 'accepted');
  assert.equal(await bench.offer(two), 'forked');
  assert.equal(await bench.offer(chain.merge(two, three)), 'forked');
  const [alarm, ...rest] = bench.deployments.find(id).alarms;
  assert.deepEqual(rest, []);
  assert.match(alarm?.message ?? '', /version 1 here is on neither of its branches: moat join/);
});

test('a machine left on a wrong branch goes over by a newer token, with nothing left of that branch', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const wrong = chain.next({ name: 'wrong' }, { keep: false });
  const versions = [chain.next(), chain.next(), chain.next()];
  const newest = versions[1] as Version;
  assert.equal(await bench.offer(wrong), 'accepted');
  assert.equal(await bench.offer(versions[0] as Version), 'forked');
  assert.throws(() => bench.deployments.adopt(PEER, { ...newest, claims: [] }), { code: 'HEAD_FORKED' });
  bench.deployments.adopt(PEER, { ...newest, claims: [], isOtherBranch: true });
  bench.reopen();
  const deployment = bench.deployments.find(id);
  assert.deepEqual(
    [deployment.head, deployment.forked, deployment.alarms],
    [headHash(newest.proof.newest.head), false, []],
  );
  assert.equal(bench.database.all('SELECT version FROM versions').length, 1);
  assert.equal(await bench.offer(versions[2] as Version), 'accepted');
});

test('a token leads off a branch with other owners, but never back to owners who were replaced', async () => {
  const mia = createOwnerKey();
  const owners = { threshold: 1, keys: [{ name: 'mia', key: mia.key, weight: 1 }] };
  for (const isFork of [true, false]) {
    const { bench, chain, id } = await begin();
    await using _ = bench;
    const [base, { contract, proof: half }] = [chain.proof, chain.next({ owners }, { keep: false })];
    const { head, signatures } = half.newest;
    const signed = { head, signatures: [...signatures, signHead(head, mia.signer)] };
    const changed = { contract, proof: extendProof(base, chain.genesis, signed, owners) };
    const [one, two] = [chain.next(), chain.next()];
    assert.equal(await bench.offer(changed), 'accepted');
    if (isFork) assert.equal(await bench.offer(one), 'forked');
    assert.equal(await bench.offer(two), 'refused');
    const leave = (): unknown => bench.deployments.adopt(PEER, { ...two, claims: [], isOtherBranch: true });
    if (isFork) leave();
    else assert.throws(leave, { code: 'HEAD_FORGED' });
    assert.equal(bench.deployments.find(id).contract.version, isFork ? 2 : 1);
  }
});

test('of a flood of forks few are kept, on disk too', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const branches = Array.from({ length: 12 }, (_each, i) => chain.next({ name: `shop-${i}` }, { keep: false }));
  assert.equal(await bench.offer(chain.next()), 'accepted');
  const outcomes = await Promise.all(branches.map((branch) => bench.offer(branch)));
  assert.deepEqual([...new Set(outcomes.slice(0, 4))], ['forked']);
  assert.deepEqual([...new Set(outcomes.slice(4))], ['refused']);
  const alarms = (): number => bench.deployments.find(id).alarms.length;
  assert.equal(alarms(), 4);
  bench.reopen();
  assert.equal(alarms(), 4);
  // Once for each head, once for each contract.
  assert.equal(bench.changes.filter(({ kind }) => kind === 'fork').length, 8);
});

test('a keeper witnesses one claim an invite, answers retries alike, remembers over restarts', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const { claim, key } = chain.claim(chain.invite);
  const request = { signed: claim, details: claim.details };
  const first = bench.keeper.witness(request, key.peerId);
  assert.ok(first.ok);
  assert.equal(bench.deployments.get(id)?.view.places.get('laptop')?.peer, key.peerId);
  const thief = chain.claim(chain.invite);
  const answer = bench.keeper.witness({ signed: thief.claim, details: thief.claim.details }, thief.key.peerId);
  assert.equal(!answer.ok && answer.code, 'INVITE_USED');
  bench.reopen();
  const retry = bench.keeper.witness(request, key.peerId);
  assert.deepEqual(retry.ok && retry.claim, first.claim);
  const late = bench.keeper.witness({ signed: thief.claim, details: thief.claim.details }, thief.key.peerId);
  assert.equal(!late.ok && late.code, 'INVITE_USED');
  assert.equal(bench.deployments.get(id)?.view.places.get('laptop')?.state, 'claimed');
});

test('a keeper refuses strangers alike, and open invites only in their time', async () => {
  const { bench, chain } = await begin();
  await using _ = bench;
  const stranger = chain.claim(createInvite(new Uint8Array(32).fill(7)));
  const foreign = new Chain(bench.key).claim();
  const borrowed = chain.claim(chain.invite);
  const answers = [
    bench.keeper.witness({ signed: stranger.claim, details: stranger.claim.details }, stranger.key.peerId),
    bench.keeper.witness({ signed: foreign.claim, details: foreign.claim.details }, foreign.key.peerId),
    // A valid claim shown by another machine than the one it is for.
    bench.keeper.witness({ signed: borrowed.claim, details: borrowed.claim.details }, PEER),
    bench.keeper.witness(
      { signed: borrowed.claim, details: { ...borrowed.claim.details, member: 'home' } },
      borrowed.key.peerId,
    ),
  ];
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
  assert.equal(answers[0]?.ok === false && answers[0].code, 'JOIN_REFUSED');
  bench.clock.now = () => Date.parse('2099-01-01T00:00:00Z');
  const late = bench.keeper.witness({ signed: borrowed.claim, details: borrowed.claim.details }, borrowed.key.peerId);
  assert.equal(!late.ok && late.code, 'INVITE_EXPIRED');
});

test('a pinned machine has one claim on its place: retries are alike, a new one replaces it, in its time', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const member = createNodeKey();
  const pinned = { name: 'web', node: member.peerId, ipv4: '10.77.0.9', tags: [] };
  const version = chain.next({ members: [...(chain.contract?.members ?? []), pinned] });
  assert.equal(await bench.offer(version), 'accepted');
  const ask = (nonce: number): JoinAnswer => {
    const details = { nonce: Buffer.alloc(16, nonce).toString('base64url'), member: 'web', wireguard: null };
    const signed = createClaim({ deployment: id, details, nodeSigner: member.signer, inviteSigner: null });
    return bench.keeper.witness({ signed, details }, member.peerId);
  };
  const first = ask(1);
  assert.ok(first.ok);
  bench.changes.length = 0;
  const retry = ask(1);
  assert.deepEqual(retry.ok && retry.claim, first.claim);
  for (let nonce = 2; nonce < 20; nonce++) assert.equal(ask(nonce).ok, false);
  assert.deepEqual([bench.changes, bench.deployments.find(id).claims.length], [[], 1]);
  const now = Date.now();
  bench.clock.now = () => now + 61_000;
  const second = ask(2);
  assert.ok(second.ok);
  // What it replaced is gone, also when somebody shows it again, and on disk.
  assert.equal(bench.offerClaim(first.claim), false);
  bench.reopen();
  assert.deepEqual(bench.deployments.find(id).claims, [second.claim]);
  // Others take the newer one as well.
  const { claim } = second;
  const later = { ...witnessClaim(claim, now, bench.key.signer), details: claim.details };
  assert.equal(bench.offerClaim(later), false);
});

test('of a pinned machine only the newest claim is kept, whoever shows it', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const member = createNodeKey();
  const pinned = { name: 'web', node: member.peerId, ipv4: '10.77.0.9', tags: [] };
  assert.equal(await bench.offer(chain.next({ members: [...(chain.contract?.members ?? []), pinned] })), 'accepted');
  const claims = Array.from({ length: 5 }, (_each, i): MemberClaim => {
    const details = { nonce: Buffer.alloc(16, i).toString('base64url'), member: 'web', wireguard: null };
    const signed = createClaim({ deployment: id, details, nodeSigner: member.signer, inviteSigner: null });
    return { ...witnessClaim(signed, Date.now() - 10_000 + i * 1000, bench.key.signer), details };
  });
  for (const claim of claims) assert.equal(bench.offerClaim(claim), true);
  for (const claim of claims) assert.equal(bench.offerClaim(claim), false);
  assert.deepEqual(bench.deployments.find(id).claims, [claims[4]]);
  bench.reopen();
  assert.deepEqual(bench.deployments.find(id).claims, [claims[4]]);
});

test('a machine that holds a place takes no other one of the deployment', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const details = { nonce: Buffer.alloc(16, 1).toString('base64url'), member: 'laptop', wireguard: null };
  const { signer: inviteSigner } = chain.invite;
  const signed = createClaim({ deployment: id, details, nodeSigner: bench.key.signer, inviteSigner });
  const answer = bench.keeper.witness({ signed, details }, bench.key.peerId);
  assert.equal(!answer.ok && answer.code, 'PLACE_TAKEN');
  assert.equal(bench.deployments.find(id).view.places.get('laptop')?.state, 'invited');
});

test('two witnessed claims on one invite freeze the place; a forged one changes nothing', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const [first, second] = [chain.claim(chain.invite), chain.claim(chain.invite)];
  const forged = { ...first.claim, keeperSignature: second.claim.keeperSignature };
  assert.equal(bench.offerClaim(forged), false);
  assert.equal(bench.offerClaim(first.claim), true);
  assert.equal(bench.offerClaim(first.claim), false);
  assert.equal(bench.offerClaim(second.claim), true);
  assert.equal(bench.offerClaim(chain.claim(chain.invite).claim), false);
  const deployment = bench.deployments.get(id);
  assert.equal(deployment?.view.places.get('laptop')?.state, 'frozen');
  assert.ok(deployment.alarms.some(({ code }) => code === 'PLACE_FROZEN'));
  assert.equal(deployment.currentClaims.length, 2);
});

test('whose membership ended hears nothing more, however the place was taken', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const pinned = createNodeKey().peerId;
  const expires = '2098-01-01T00:00:00Z';
  const [home, laptop] = (chain.contract as Contract).members as [Member, Member];
  const desk = { name: 'desk', node: pinned, ipv4: '10.77.0.9', tags: [], expires };
  assert.equal(await bench.offer(chain.next({ members: [home, { ...laptop, expires }, desk] })), 'accepted');
  const { claim, key } = chain.claim(chain.invite);
  assert.equal(bench.offerClaim(claim), true);
  const deployment = bench.deployments.find(id);
  assert.deepEqual(deployment.audience, new Set([bench.key.peerId, pinned, key.peerId]));
  bench.clock.now = () => Date.parse(expires);
  bench.deployments.refresh(deployment);
  assert.deepEqual(deployment.audience, new Set([bench.key.peerId]));
});

test('who was removed is told nothing for the claim it once took a place with', async () => {
  const { bench, chain } = await begin();
  await using _ = bench;
  const { claim, key } = chain.claim(chain.invite);
  const ask = (): JoinAnswer => bench.keeper.witness({ signed: claim, details: claim.details }, key.peerId);
  assert.ok(ask().ok);
  const [home, laptop] = (chain.contract as Contract).members as [Member, Member];
  const { invite: __, ...place } = laptop;
  await bench.offer(chain.next({ members: [home, { ...place, node: key.peerId }] }));
  assert.ok(ask().ok);
  await bench.offer(chain.next({ members: [home] }));
  const answer = ask();
  assert.equal(!answer.ok && answer.code, 'JOIN_REFUSED');
});

test('a clock set back does not pass the newest verified time', async () => {
  const { bench, chain } = await begin();
  await using _ = bench;
  const before = Date.now();
  bench.offerClaim(chain.claim(chain.invite).claim);
  bench.clock.now = () => 0;
  assert.ok(bench.time.now() >= before - 1000);
  bench.reopen();
  assert.ok(bench.time.now() >= before - 1000);
});

test('a witness that lies more than five minutes ahead is refused for as long, and pushes no clock', async () => {
  const { bench, chain } = await begin();
  await using _ = bench;
  const start = Date.now();
  bench.clock.now = () => start;
  const { claim } = chain.claim(chain.invite);
  const dated = (ms: number): MemberClaim => ({
    ...witnessClaim(claim, start + ms, bench.key.signer),
    details: claim.details,
  });
  assert.equal(bench.offerClaim(dated(301_000)), false);
  assert.equal(bench.time.now(), start);
  bench.clock.now = () => start + 2000;
  assert.equal(bench.offerClaim(dated(301_000)), true);
  // Five minutes at most, also for all that follow: they are held against the machine's own clock.
  assert.ok(bench.time.now() <= start + 302_000);
  assert.equal(bench.offerClaim(dated(600_000)), false);
});

test('a keeper whose clock ran ahead is not held there by what it witnessed itself', async () => {
  const { bench, chain } = await begin();
  await using _ = bench;
  bench.clock.now = () => Date.now() + 10 * 365 * 86_400_000;
  const { claim, key } = chain.claim(chain.invite);
  assert.ok(bench.keeper.witness({ signed: claim, details: claim.details }, key.peerId).ok);
  bench.clock.now = () => Date.now();
  assert.ok(bench.time.now() <= Date.now());
});

test('a full disk refuses new work and keeps what runs', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const pages = Number(bench.database.get('PRAGMA page_count')?.['page_count']);
  bench.database.get(`PRAGMA max_page_count=${pages}`);
  let taken = 0;
  for (let i = 0; i < 40; i++) {
    const version = chain.next({}, { keep: false });
    if ((await bench.offer(version)) !== 'accepted') break;
    chain.next();
    taken += 1;
  }
  assert.ok(taken < 40);
  assert.deepEqual(bench.unkept, [id]);
  assert.equal(bench.deployments.get(id)?.contract.version, taken);
  bench.database.get('PRAGMA max_page_count=1000000');
  bench.reopen();
  assert.equal(bench.deployments.get(id)?.contract.version, taken);
  assert.equal(await bench.offer(chain.next()), 'accepted');
});
