import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, witnessClaim, type MemberClaim } from '@moat/contract';
import { createOwnerKey } from '@moat/identity';
import { Chain } from './chain.ts';
import { PEER, begin } from './deployments-bench.ts';

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
