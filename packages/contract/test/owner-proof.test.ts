import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMoatError } from '@moat/core';
import {
  CLOCK_TOLERANCE_MS,
  canonicalize,
  createOwnerProof,
  formatTime,
  ownerSetOf,
  parseSignedOwnerProof,
  verifyOwnerProof,
  type OwnerProofRules,
} from '@moat/contract';
import { NOW, ana, deployment, laptop, ownedBy, owners, stranger, web1 } from './deployment.fixture.ts';

const fields = { deployment, dialer: laptop.peer, keeper: web1.peer, time: formatTime(NOW) };
const proof = createOwnerProof(fields, ana.signer);
const rules: OwnerProofRules = {
  deployment,
  dialer: laptop.peer,
  keeper: web1.peer,
  owners: ownerSetOf(owners),
  now: NOW,
};

test('an owner proves itself on one connection', () => {
  const parsed = parseSignedOwnerProof(canonicalize(proof));
  assert.deepEqual(parsed, proof);
  assert.equal(verifyOwnerProof(parsed, rules), ana.key);
});

test('a proof holds nowhere else: not on another connection, at another keeper, for another deployment', () => {
  const elsewhere: readonly Partial<OwnerProofRules>[] = [
    { dialer: stranger.peer },
    { keeper: stranger.peer },
    { dialer: web1.peer, keeper: laptop.peer },
    { deployment: 'a'.repeat(26) },
    { owners: ownerSetOf(ownedBy(1, { stranger })) },
  ];
  for (const change of elsewhere) {
    assert.throws(() => verifyOwnerProof(proof, { ...rules, ...change }), { code: 'OWNER_PROOF_INVALID' });
  }
});

test('a proof is worth five minutes either way', () => {
  for (const offset of [-CLOCK_TOLERANCE_MS, 0, CLOCK_TOLERANCE_MS]) {
    assert.equal(verifyOwnerProof(proof, { ...rules, now: NOW + offset }), ana.key);
  }
  for (const offset of [-CLOCK_TOLERANCE_MS - 1, CLOCK_TOLERANCE_MS + 1]) {
    assert.throws(() => verifyOwnerProof(proof, { ...rules, now: NOW + offset }), { code: 'OWNER_PROOF_INVALID' });
  }
});

test('a stranger and whoever alters a proof are refused with the same words', () => {
  const bad = [
    createOwnerProof(fields, stranger.signer),
    { proof: { ...proof.proof, owner: stranger.key }, signature: proof.signature },
    {
      proof: { ...createOwnerProof(fields, stranger.signer).proof, owner: ana.key },
      signature: proof.signature.replace(/^./, (first) => (first === 'A' ? 'B' : 'A')),
    },
    { proof: { ...proof.proof, time: formatTime(NOW + 1000) }, signature: proof.signature },
    { proof: proof.proof, signature: web1.signer.sign('moat/owner/1', Buffer.from(canonicalize(proof.proof))) },
    // The owner's own signature, over another kind of object.
    { proof: proof.proof, signature: ana.signer.sign('moat/head/1', Buffer.from(canonicalize(proof.proof))) },
  ];
  const said = bad.map((one) => {
    try {
      verifyOwnerProof(one, rules);
      return 'believed';
    } catch (error) {
      assert.ok(isMoatError(error, 'OWNER_PROOF_INVALID'));
      return error.message;
    }
  });
  assert.deepEqual([...new Set(said)], ['this proves no owner of the deployment on this connection']);
});

test('anything else is refused by its shape', () => {
  assert.throws(() => parseSignedOwnerProof({ ...proof, extra: 1 }), { code: 'CONTRACT_TOO_NEW' });
  assert.throws(() => parseSignedOwnerProof({ ...proof, proof: { ...proof.proof, time: 'now' } }), {
    code: 'CONTRACT_INVALID',
  });
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.throws(
        () => parseSignedOwnerProof(value),
        (error) => isMoatError(error),
      );
    }),
  );
});
