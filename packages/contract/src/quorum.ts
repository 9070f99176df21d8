/** Who signed a head, and whether that is enough. */
import { MoatError, verifySignature, type OwnerKey } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { keyOfOwner } from './signing-key.ts';
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
  const signers = validSigners(head, signatures, [owners]);
  const weight = weightOf(signers, owners);
  return { met: isMet(weight, owners), weight, signers: [...signers] };
}

/**
 * @param sets the owners before a version and the ones it brings in, or one set: each must reach its threshold.
 * @throws `QUORUM_MISSING` when all signatures are valid but too few; `HEAD_FORGED` when one is not valid
 * or not an owner's.
 */
export function requireQuorum(head: Head, signatures: readonly OwnerSignature[], ...sets: readonly OwnerSet[]): void {
  // Once for all sets: most owners stay when some change.
  const signers = validSigners(head, signatures, sets);
  const short = sets.find((owners) => !isMet(weightOf(signers, owners), owners));
  if (short === undefined) return;
  if (signatures.some(({ key }) => !signers.has(key))) {
    throw new MoatError('HEAD_FORGED', `version ${head.version} carries signatures that are not its owners'`, {
      details: { deployment: head.deployment, version: head.version },
    });
  }
  const [weight, { threshold }] = [weightOf(signers, short), short];
  throw new MoatError('QUORUM_MISSING', `version ${head.version} is signed by ${weight} of ${threshold}`, {
    details: { deployment: head.deployment, version: head.version, weight, threshold },
    next: ['moat sign PROPOSAL'],
  });
}

/** The first valid signature of each owner of these sets, in the order of the signatures. */
export function validSignatures(
  head: Head,
  signatures: readonly OwnerSignature[],
  sets: readonly OwnerSet[],
): OwnerSignature[] {
  const owners = new Set(sets.flatMap(({ keys }) => keys.map(({ key }) => key)));
  const bytes = canonicalBytes(head);
  const valid = new Map<OwnerKey, OwnerSignature>();
  for (const { key, signature } of signatures) {
    if (!owners.has(key) || valid.has(key)) continue;
    if (verifySignature('moat/head/1', bytes, signature, keyOfOwner(key))) valid.set(key, { key, signature });
  }
  return [...valid.values()];
}

function validSigners(
  head: Head,
  signatures: readonly OwnerSignature[],
  sets: readonly OwnerSet[],
): ReadonlySet<OwnerKey> {
  return new Set(validSignatures(head, signatures, sets).map(({ key }) => key));
}

function weightOf(signers: ReadonlySet<OwnerKey>, { keys }: OwnerSet): number {
  // By key: a set that has not been checked yet may list one twice.
  const weights = new Map(keys.map(({ key, weight }) => [key, weight]));
  return [...weights].reduce((sum, [key, weight]) => (signers.has(key) ? sum + weight : sum), 0);
}

/** No threshold, no quorum. */
function isMet(weight: number, { threshold }: OwnerSet): boolean {
  return threshold > 0 && weight >= threshold;
}
