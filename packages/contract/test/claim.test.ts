import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  claimedMember,
  createClaim,
  hashCanonical,
  hashClaim,
  verifyClaim,
  verifyWitnessed,
  witnessClaim,
  type SignedClaim,
  type WitnessedClaim,
} from '@moat/contract';
import {
  NOW,
  contract,
  db1,
  deployment,
  laptop,
  laptopClaim,
  laptopInvite,
  stranger,
  web1,
} from './deployment.fixture.ts';

const claim = laptopClaim();
const rules = { witnesses: [web1.peer], inviteExpires: '2026-11-20T11:00:00Z' };

test('a claim is signed by node and invite, and its details stay out of it', () => {
  verifyClaim(claim, claim.details);
  assert.deepEqual(claim.claim, {
    type: 'moat/claim/1',
    deployment,
    invite: laptopInvite.key,
    node: laptop.peer,
    details: hashCanonical(claim.details),
  });
});

test('forged claims are refused', () => {
  const { claim: body } = claim;
  const byNode = createClaim({ deployment, details: claim.details, nodeSigner: laptop.signer, inviteSigner: null });
  const bad: readonly SignedClaim[] = [
    { ...claim, claim: { ...body, node: stranger.peer } },
    { ...claim, claim: { ...body, deployment: 'a'.repeat(26) } },
    { ...claim, claim: { ...body, invite: stranger.key } },
    { ...claim, claim: { ...body, invite: null }, inviteSignature: null },
    { ...claim, inviteSignature: null },
    { ...claim, inviteSignature: claim.nodeSignature },
    { ...claim, nodeSignature: claim.inviteSignature ?? '' },
    { ...byNode, inviteSignature: claim.inviteSignature },
    { ...claim, claim: { ...body, node: 'nobody' } },
    { ...claim, claim: { ...body, invite: 'ed25519:short' } },
  ];
  for (const forged of bad) assert.throws(() => verifyClaim(forged), { code: 'CLAIM_FORGED' });
  assert.throws(() => verifyClaim(claim, { ...claim.details, member: 'web-1' }), { code: 'CLAIM_FORGED' });
});

test("a pinned keeper's witness in time makes it count, for ever", () => {
  verifyWitnessed(claim, rules, claim.details);
  verifyWitnessed(claim, { ...rules, now: NOW + 365 * 86_400_000 });
  assert.equal(claim.witness.claim, hashClaim(claim.claim));
  assert.equal(claim.witness.time, '2026-11-20T10:00:00Z');
});

test('a witness counts only from a pinned keeper, for this claim, before the invite ends', () => {
  const end = Date.parse('2026-11-20T11:00:00Z');
  verifyWitnessed(laptopClaim(laptop, { timeMs: end - 1 }), rules);
  const other = laptopClaim(stranger);
  const bad: readonly WitnessedClaim[] = [
    laptopClaim(laptop, { timeMs: end }),
    laptopClaim(laptop, { keeper: db1 }),
    { ...claim, keeper: db1.peer },
    { ...claim, keeperSignature: other.keeperSignature },
    { ...claim, witness: other.witness, keeperSignature: other.keeperSignature },
    { ...claim, witness: { ...claim.witness, time: '2026-11-20T09:00:00Z' } },
  ];
  for (const witnessed of bad) assert.throws(() => verifyWitnessed(witnessed, rules), { code: 'WITNESS_INVALID' });
  assert.throws(() => verifyWitnessed(claim, { witnesses: [web1.peer] }), { code: 'WITNESS_INVALID' });
  const forged = { ...claim, nodeSignature: claim.inviteSignature ?? '' };
  assert.throws(() => verifyWitnessed(forged, rules), { code: 'CLAIM_FORGED' });
});

test('clocks may differ by five minutes', () => {
  verifyWitnessed(claim, { ...rules, now: NOW - 300_000 });
  assert.throws(() => verifyWitnessed(claim, { ...rules, now: NOW - 300_001 }), { code: 'WITNESS_INVALID' });
});

test('a pinned machine claims without an invite', () => {
  const details = { nonce: claim.details.nonce, member: 'db-1', wireguard: null };
  const own = createClaim({ deployment, details, nodeSigner: db1.signer, inviteSigner: null });
  verifyWitnessed(witnessClaim(own, NOW, web1.signer), { witnesses: [web1.peer] }, details);
  assert.equal(claimedMember(contract, own.claim, details)?.name, 'db-1');
  assert.equal(claimedMember(contract, own.claim, { ...details, member: 'web-1' }), undefined);
});

test('a claim is for the member that has its invite, and for no other', () => {
  assert.equal(claimedMember(contract, claim.claim, claim.details)?.name, 'laptop');
  assert.equal(claimedMember(contract, claim.claim, { ...claim.details, member: 'spare' }), undefined);
  assert.equal(claimedMember({ ...contract, deployment: 'a'.repeat(26) }, claim.claim, claim.details), undefined);
  const pinned = contract.members.map((member) =>
    member.name === 'laptop' ? { name: 'laptop', node: stranger.peer, ipv4: member.ipv4, tags: [] } : member,
  );
  assert.equal(claimedMember({ ...contract, members: pinned }, claim.claim, claim.details), undefined);
});
