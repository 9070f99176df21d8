import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { encodeBase32 } from '@moat/core';
import { canonicalize, createGenesis, deploymentIdOf, ownerSetOf, ownersHash, parseGenesis } from '@moat/contract';
import { ana, ben, genesis, owners } from './deployment.fixture.ts';

test('the id is base32(SHA-256("moat/genesis/1" || JCS(genesis)))[0..26]', () => {
  const digest = createHash('sha256')
    .update(`moat/genesis/1${canonicalize(genesis)}`)
    .digest();
  assert.equal(deploymentIdOf(genesis), encodeBase32(digest).slice(0, 26));
  // Frozen: a change here would orphan every deployment.
  assert.equal(deploymentIdOf(genesis), 'tk7i5j7cmfwnmuwhowmhdjgsnh');
});

test('an owner set is sorted by key and nameless, so order and names change no hash', () => {
  const reversed = { ...owners, keys: owners.keys.toReversed().map((key) => ({ ...key, name: `${key.name}-2` })) };
  assert.equal(ownersHash(ownerSetOf(owners)), ownersHash(ownerSetOf(reversed)));
  assert.equal(
    ownersHash(ownerSetOf(owners)),
    createHash('sha256')
      .update(canonicalize(ownerSetOf(owners)))
      .digest('base64url'),
  );
  const keys = ownerSetOf(reversed).keys.map(({ key }) => key);
  assert.deepEqual(keys, keys.toSorted());
});

test('another nonce is another deployment', () => {
  const other = createGenesis(ownerSetOf(owners), new Uint8Array(16).fill(8));
  assert.notEqual(deploymentIdOf(other), deploymentIdOf(genesis));
  assert.throws(() => createGenesis(ownerSetOf(owners), new Uint8Array(15)), { code: 'CONTRACT_INVALID' });
});

test('a genesis is read strictly', () => {
  assert.deepEqual(parseGenesis(canonicalize(genesis)), genesis);
  const keys = [ana, ben].map(({ key }) => ({ key, weight: 1 }));
  const unsorted = ownerSetOf({ threshold: 1, keys }).keys.toReversed();
  for (const bad of [
    { ...genesis, owners: { threshold: 1, keys: unsorted } },
    { ...genesis, owners: { threshold: 3, keys } },
    { ...genesis, owners: { threshold: 0, keys } },
    { ...genesis, owners: { threshold: 1, keys: [keys[0], keys[0]] } },
    { ...genesis, nonce: 'AAAA' },
    { ...genesis, type: 'moat/head/1' },
  ]) {
    assert.throws(() => parseGenesis(bad), { code: 'CONTRACT_INVALID' });
  }
  assert.throws(() => parseGenesis({ ...genesis, hint: 1 }), { code: 'CONTRACT_TOO_NEW' });
  assert.throws(() => parseGenesis({ ...genesis, type: 'moat/genesis/2' }), { code: 'CONTRACT_TOO_NEW' });
});
