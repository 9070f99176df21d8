/** Heads: the small signed summary of a version. */
import { MoatError, formatKey, type Hash, type Signer } from '@moat/core';
import { canonicalBytes, hashCanonical } from './canonical.ts';
import { contractHash } from './contract-bytes.ts';
import { ownerSetOf, ownersHash } from './genesis.ts';
import { publicationHash, publicationsOf } from './publication.ts';
import type { Contract, Head, OwnerSignature } from './schema.ts';

/**
 * The head that owners sign for this contract.
 * @param previous hash of the head before; null only at version 0.
 * @param merges hash of the newest head of the other branch, where this version ends a fork.
 */
export function headOf(contract: Contract, previous: Hash | null, merges?: Hash): Head {
  return {
    type: 'moat/head/1',
    deployment: contract.deployment,
    version: contract.version,
    previous,
    ...(merges === undefined ? {} : { merges }),
    contract: contractHash(contract),
    owners: ownersHash(ownerSetOf(contract.owners)),
    publications: publicationsOf(contract).map(publicationHash).sort(),
  };
}

/** Heads never change, and each is asked for its hash a dozen times while it is taken. */
const hashes = new WeakMap<Head, Hash>();

/** What the next head names as `previous`. */
export function headHash(head: Head): Hash {
  let hash = hashes.get(head);
  if (hash === undefined) hashes.set(head, (hash = hashCanonical(head)));
  return hash;
}

/** One owner's signature over `"moat/head/1" || 0x00 || SHA-256(JCS(head))`. */
export function signHead(head: Head, signer: Signer): OwnerSignature {
  return {
    key: formatKey('ed25519', signer.publicKey),
    signature: signer.sign('moat/head/1', canonicalBytes(head)),
  };
}

/** @throws `HEAD_MISMATCH` unless every hash in the head is this contract's. */
export function contractMatchesHead(contract: Contract, head: Head): void {
  const own = headOf(contract, head.previous, head.merges);
  if (headHash(own) === headHash(head)) return;
  const fields = (['deployment', 'version', 'contract', 'owners', 'publications'] as const).filter(
    (field) => String(own[field]) !== String(head[field]),
  );
  throw new MoatError('HEAD_MISMATCH', `the contract differs from its head in ${fields.join(', ')}`, {
    details: { deployment: head.deployment, version: head.version, fields },
  });
}
