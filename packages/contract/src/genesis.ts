/** The beginning of a deployment and the owner sets that govern it. */
import { createHash } from 'node:crypto';
import { MoatError, encodeBase32, toBase64url, type DeploymentId, type Hash } from '@moat/core';
import { canonicalBytes, hashCanonical } from './canonical.ts';
import type { Genesis, OwnerSet, Owners } from './schema.ts';

/** An owner set without names, sorted by key: the form that is hashed. */
export function ownerSetOf(owners: Owners | OwnerSet): OwnerSet {
  const keys = owners.keys.map(({ key, weight }) => ({ key, weight }));
  return { threshold: owners.threshold, keys: keys.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)) };
}

/** SHA-256 of the canonical owner set, as a head carries it. */
export function ownersHash(owners: OwnerSet): Hash {
  return hashCanonical(ownerSetOf(owners));
}

/**
 * A new deployment's genesis.
 * @param nonce 16 random bytes.
 * @throws `CONTRACT_INVALID` unless the nonce has 16 bytes.
 */
export function createGenesis(owners: OwnerSet, nonce: Uint8Array): Genesis {
  if (nonce.length !== 16) throw new MoatError('CONTRACT_INVALID', "a genesis' nonce has 16 bytes");
  return { type: 'moat/genesis/1', owners: ownerSetOf(owners), nonce: toBase64url(nonce) };
}

/** `base32(SHA-256("moat/genesis/1" || JCS(genesis)))`, first 26 characters. */
export function deploymentIdOf(genesis: Genesis): DeploymentId {
  const digest = createHash('sha256').update('moat/genesis/1').update(canonicalBytes(genesis)).digest();
  return encodeBase32(digest).slice(0, 26);
}
