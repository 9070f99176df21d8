/** Who signed a head, and whether that is enough. */
import { isMoatError, parseKey, verifySignature, MoatError, type OwnerKey } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import type { Head, OwnerSet, OwnerSignature } from './schema.ts';

/** What a set of signatures amounts to under one owner set. */
export interface QuorumResult {
  /** The distinct valid signers' weights reach the threshold. */
  readonly met: boolean;
  readonly weight: number;
  /** Owners whose signature is valid, each once, in the order of the signatures. */
  readonly signers: readonly OwnerKey[];
}

/**
 * Counts the distinct owners whose signature over this head is valid. Signatures by others and invalid
 * ones count nothing and do no harm; a key counts once however often it signed.
 */
export function hasQuorum(head: Head, signatures: readonly OwnerSignature[], owners: OwnerSet): QuorumResult {
  const weights = new Map(owners.keys.map(({ key, weight }) => [key, weight]));
  const bytes = canonicalBytes(head);
  const signers = new Set<OwnerKey>();
  let weight = 0;
  for (const { key, signature } of signatures) {
    const own = weights.get(key);
    if (own === undefined || signers.has(key)) continue;
    if (!verifySignature('moat/head/1', bytes, signature, publicKeyOf(key))) continue;
    signers.add(key);
    weight += own;
  }
  return { met: owners.threshold > 0 && weight >= owners.threshold, weight, signers: [...signers] };
}

/**
 * @param known other owner sets whose signatures are expected too (the two sides of a succession).
 * @throws `QUORUM_MISSING` when all signatures are valid but too few; `HEAD_FORGED` when one is not valid
 * or not an owner's.
 */
export function requireQuorum(
  head: Head,
  signatures: readonly OwnerSignature[],
  owners: OwnerSet,
  known: readonly OwnerSet[] = [],
): void {
  const { met, weight } = hasQuorum(head, signatures, owners);
  if (met) return;
  const all: OwnerSet = { threshold: 1, keys: [owners, ...known].flatMap((set) => set.keys) };
  const honest = new Set(hasQuorum(head, signatures, all).signers);
  if (signatures.some(({ key }) => !honest.has(key))) {
    throw new MoatError('HEAD_FORGED', `version ${head.version} carries signatures that are not its owners'`, {
      details: { deployment: head.deployment, version: head.version },
    });
  }
  throw new MoatError('QUORUM_MISSING', `version ${head.version} is signed by ${weight} of ${owners.threshold}`, {
    details: { deployment: head.deployment, version: head.version, weight, threshold: owners.threshold },
    next: ['moat sign PROPOSAL'],
  });
}

function publicKeyOf(key: OwnerKey): Uint8Array {
  try {
    return parseKey('ed25519', key);
  } catch (error) {
    // No valid signature can belong to a malformed key.
    if (isMoatError(error)) return new Uint8Array(0);
    throw error;
  }
}
