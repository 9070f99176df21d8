import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, extendProof, headHash, signHead, type Contract, type Member } from '@moat/contract';
import { createNodeKey, createOwnerKey } from '@moat/identity';
import { takeVersion } from '../src/owners/signed-version.ts';
import { type Version } from './chain.ts';
import { Bench, PEER, begin } from './deployments-bench.ts';

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
