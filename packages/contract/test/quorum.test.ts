import assert from 'node:assert/strict';
import { createHash, verify, createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { fromBase64url } from '@moat/core';
import fc from 'fast-check';
import {
  canonicalize,
  contractMatchesHead,
  hasQuorum,
  headHash,
  headOf,
  publicationHash,
  publicationsOf,
  requireQuorum,
  signHead,
} from '@moat/contract';
import { ana, ben, cleo, contract, identity, ownerSet, stranger, type Identity } from './deployment.fixture.ts';

const head = headOf(contract, null);

test('a head holds the hashes of everything a version says', () => {
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('base64url');
  assert.equal(head.contract, sha256(canonicalize(contract)));
  assert.equal(headHash(head), sha256(canonicalize(head)));
  const [publication] = publicationsOf(contract);
  assert.ok(publication);
  assert.deepEqual(head.publications, [sha256(`moat/publication/1\0${canonicalize(publication)}`)]);
  assert.equal(publicationHash(publication), head.publications[0]);
});

test('owners sign "moat/head/1" || 0x00 || SHA-256(JCS(head))', () => {
  const { key, signature } = signHead(head, ana.signer);
  assert.equal(key, ana.key);
  const message = Buffer.concat([
    Buffer.from('moat/head/1\0'),
    createHash('sha256').update(canonicalize(head)).digest(),
  ]);
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), ana.signer.publicKey]);
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' });
  assert.ok(verify(null, message, publicKey, fromBase64url(signature)));
  // Ed25519 is deterministic: this pins the whole chain of hash inputs.
  assert.equal(signature, 'IYrWEbwJE2XVn11pC9nf0f_HDIvVDH6fIjWRjNNVf0VJ9u3zOpeuNbwtH3_pCQeekVqbvKZF02WrzVgMeyxZDQ');
});

test('a signature for another kind of object is none for a head', () => {
  const bytes = new TextEncoder().encode(canonicalize(head));
  const signature = ana.signer.sign('moat/claim/1', bytes);
  assert.equal(hasQuorum(head, [{ key: ana.key, signature }], ownerSet(1, [[ana, 1]])).met, false);
});

test('a contract other than the head names is refused, with the fields that differ', () => {
  contractMatchesHead(contract, head);
  const other = { ...contract, version: 1, name: 'other' };
  assert.throws(
    () => contractMatchesHead(other, head),
    (error: { code: string; details: { fields: string[] } }) => {
      assert.equal(error.code, 'HEAD_MISMATCH');
      assert.deepEqual(error.details.fields, ['version', 'contract']);
      return true;
    },
  );
  const { owners } = contract;
  assert.throws(() => contractMatchesHead({ ...contract, owners: { ...owners, threshold: 1 } }, head), {
    code: 'HEAD_MISMATCH',
  });
});

test('counts distinct valid signers by weight', () => {
  const set = ownerSet(3, [
    [ana, 2],
    [ben, 1],
    [cleo, 1],
  ]);
  const [a, b, c] = [ana, ben, cleo].map(({ signer }) => signHead(head, signer));
  assert.ok(a && b && c);
  assert.deepEqual(hasQuorum(head, [a, a, a], set), { met: false, weight: 2, signers: [ana.key] });
  assert.deepEqual(hasQuorum(head, [a, b], set), { met: true, weight: 3, signers: [ana.key, ben.key] });
  assert.equal(hasQuorum(head, [b, c], set).weight, 2);
  // An invalid signature first does not spoil the valid one of the same owner.
  assert.equal(hasQuorum(head, [{ key: ana.key, signature: b.signature }, a, b], set).met, true);
  assert.equal(hasQuorum(head, [{ key: 'ed25519:', signature: '' }], set).weight, 0);
  assert.equal(hasQuorum({ ...head, version: 1 }, [a, b, c], set).weight, 0);
  assert.equal(hasQuorum(head, [], { threshold: 0, keys: [] }).met, false);
});

test('tells too few signatures from false ones', () => {
  const set = ownerSet(2, [
    [ana, 1],
    [ben, 1],
  ]);
  const code = (signatures: Parameters<typeof requireQuorum>[1]): string => {
    try {
      requireQuorum(head, signatures, set);
      return 'met';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  const a = signHead(head, ana.signer);
  assert.equal(code([a, signHead(head, ben.signer)]), 'met');
  assert.equal(code([a]), 'QUORUM_MISSING');
  assert.equal(code([]), 'QUORUM_MISSING');
  assert.equal(code([a, signHead(head, stranger.signer)]), 'HEAD_FORGED');
  assert.equal(code([a, { key: ben.key, signature: a.signature }]), 'HEAD_FORGED');
});

test('agrees with a plain model of quorum', () => {
  const people: readonly Identity[] = ['p0', 'p1', 'p2', 'p3', 'p4'].map(identity);
  const valid = people.map(({ signer }) => signHead(head, signer));
  const invalid = people.map(({ key }) => ({ key, signature: valid[0]?.signature ?? '' }));
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.tuple(fc.nat({ max: 4 }), fc.boolean()), { maxLength: 8 }),
      (weights, threshold, picks) => {
        const set = ownerSet(
          threshold,
          weights.map((weight, i) => [people[i] ?? ana, weight] as const),
        );
        const signatures = picks.flatMap(([i, good]) => (good || i === 0 ? valid : invalid)[i] ?? []);
        const signers = new Set(picks.filter(([i, good]) => (good || i === 0) && i < weights.length).map(([i]) => i));
        const weight = [...signers].reduce((sum, i) => sum + (weights[i] ?? 0), 0);
        const result = hasQuorum(head, signatures, set);
        assert.equal(result.weight, weight);
        assert.equal(result.met, weight >= threshold);
        assert.equal(result.signers.length, signers.size);
      },
    ),
    { numRuns: 60 },
  );
});
