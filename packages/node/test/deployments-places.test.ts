import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClaim, createInvite, witnessClaim, type Contract, type Member, type MemberClaim } from '@moat/contract';
import { createNodeKey } from '@moat/identity';
import type { JoinAnswer } from '@moat/overlay';
import { Chain } from './chain.ts';
import { PEER, begin } from './deployments-bench.ts';

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
