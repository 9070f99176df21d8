import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MoatError } from '@moat/core';
import { canonicalBytes, contractDelta, headHash, parseContract } from '@moat/contract';
import type { HeadName, ProofOutcome } from '@moat/overlay';
import { Deltas } from '../src/deployments/deltas.ts';
import { viewOfDeployments } from '../src/deployments/view-of-deployments.ts';
import { DeploymentStore } from '../src/store/deployment-store.ts';
import { PEER, begin } from './deployments-bench.ts';

test('a version is taken as what makes it of the one in force, which is named', async () => {
  const { bench, chain, id, version0 } = await begin();
  await using _ = bench;
  const version1 = chain.next();
  const asked: (HeadName | undefined)[] = [];
  const outcome = await bench.deployments.offerProof(PEER, version1.proof, async (since) => {
    asked.push(since);
    return contractDelta(version0.contract, version1.contract);
  });
  assert.equal(outcome, 'accepted');
  assert.deepEqual(asked, [{ version: 0, head: headHash(version0.proof.newest.head) }]);
  bench.reopen();
  assert.deepEqual(canonicalBytes(bench.deployments.get(id)?.contract), canonicalBytes(version1.contract));
});

test('what makes another contract than the head names is refused, and the whole asked for, once', async () => {
  const { bench, chain, id } = await begin();
  await using _ = bench;
  const version1 = chain.next();
  const [first] = version1.contract.members;
  const lies = [
    canonicalBytes({ ...version1.contract, members: [[0, 1]] }),
    canonicalBytes({ ...version1.contract, members: [first, [0, 9]] }),
    Buffer.from('no JSON'),
  ];
  const offer = (first: Uint8Array | string, then: Uint8Array): Promise<ProofOutcome> =>
    bench.deployments.offerProof(PEER, version1.proof, async (since) => {
      asked.push(since?.version);
      if (since === undefined) return then;
      if (typeof first === 'string') throw new MoatError(first, 'no');
      return first;
    });
  const asked: unknown[] = [];
  for (const lie of lies) assert.equal(await offer(lie, lie), 'refused');
  assert.deepEqual(asked.splice(0), [0, undefined, 0, undefined, 0, undefined]);
  const whole = canonicalBytes(version1.contract);
  // Nobody is waited for twice, and who has no contract for us has no whole one.
  for (const code of ['DEADLINE_PASSED', 'MESSAGE_INVALID']) assert.equal(await offer(code, whole), 'refused');
  assert.deepEqual(asked.splice(0), [0, 0]);
  assert.equal(bench.deployments.get(id)?.contract.version, 0);
  // As a keeper ends a stream whose request it does not know.
  assert.equal(await offer('STREAM_ENDED', whole), 'accepted');
});

test('a machine whose disk gave back another contract than it took has the next one whole', async () => {
  const { bench, chain, id, version0 } = await begin();
  await using _ = bench;
  const damaged = canonicalBytes(version0.contract).toString().replaceAll('10.77.0.3', '10.77.0.4');
  bench.database.write(() => bench.database.run('UPDATE versions SET contract = ?', Buffer.from(damaged)));
  bench.reopen();
  const version1 = chain.next();
  const outcome = await bench.deployments.offerProof(PEER, version1.proof, async (since) =>
    since === undefined ? canonicalBytes(version1.contract) : contractDelta(version0.contract, version1.contract),
  );
  assert.equal(outcome, 'accepted');
  assert.deepEqual(bench.deployments.get(id)?.contract, version1.contract);
  const deltas = new Deltas(new DeploymentStore(bench.database));
  const since = { version: 0, head: headHash(version0.proof.newest.head) };
  assert.equal(deltas.to(version1.contract, since), undefined, 'and gives others nothing made of it');
});

test('a delta is of the contract as it stood when the pull began', async () => {
  const { bench, chain, id, version0 } = await begin();
  await using _ = bench;
  const version1 = chain.next({ members: version0.contract.members.toReversed() });
  const version2 = chain.next();
  const slow = Promise.withResolvers<Uint8Array>();
  const second = bench.deployments.offerProof(PEER, version2.proof, () => slow.promise);
  assert.equal(await bench.offer(version1), 'accepted');
  slow.resolve(contractDelta(version0.contract, version2.contract));
  assert.equal(await second, 'accepted');
  assert.deepEqual(bench.deployments.get(id)?.contract, version2.contract);
});

test('keepers make it of the versions before the one in force, once each, and of nothing else', async () => {
  const { bench, chain, version0 } = await begin();
  await using _ = bench;
  const versions = [version0];
  for (let i = 0; i < 10; i++) {
    const next = chain.next();
    versions.push(next);
    await bench.offer(next);
  }
  const { contract } = versions[10] ?? version0;
  const store = new DeploymentStore(bench.database);
  let reads = 0;
  const deltas = new Deltas({ version: (id, version) => (reads++, store.version(id, version)) });
  const nameOf = ({ proof: { newest } }: typeof version0): HeadName => {
    return { version: newest.head.version, head: headHash(newest.head) };
  };
  for (const earlier of versions.slice(2, 10)) {
    for (let again = 0; again < 2; again++) {
      const delta = deltas.to(contract, nameOf(earlier));
      assert.deepEqual(parseContract(delta, earlier.contract), contract);
    }
  }
  assert.equal(reads, 8);
  assert.equal(deltas.to(contract, nameOf(versions[1] ?? version0)), undefined, 'too long ago');
  const last = nameOf(versions[9] ?? version0);
  let isBroken = true;
  const disk = new Deltas({
    version: (id, version) => (isBroken ? assert.fail('it does not read') : store.version(id, version)),
  });
  assert.equal(disk.to(contract, last), undefined);
  isBroken = false;
  assert.ok(disk.to(contract, last), 'it reads again');
  for (const version of [99, 10, 9]) assert.equal(deltas.to(contract, { version, head: 'A'.repeat(43) }), undefined);
});

test('members are given it for the head in force alone', async () => {
  const { bench, chain, id, version0 } = await begin();
  await using _ = bench;
  const version1 = chain.next();
  await bench.offer(version1);
  const { deployments, keeper, key, database } = bench;
  const store = new DeploymentStore(database);
  const view = viewOfDeployments({ self: key.peerId, deployments, keeper, store, isGuest: () => false });
  const [old, head] = [version0, version1].map(({ proof }) => headHash(proof.newest.head));
  assert.ok(old !== undefined && head !== undefined);
  const since = { version: 0, head: old };
  assert.deepEqual(view.delta?.(id, head, since), contractDelta(version0.contract, version1.contract));
  assert.equal(view.delta?.(id, old, since), undefined);
  assert.equal(view.delta?.('a'.repeat(26), head, since), undefined);
});
