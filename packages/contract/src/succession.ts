/** Proofs: all it takes to believe a head without its contract. */
import type { DeploymentId } from '@moat/core';
import type { Genesis, HeadProof, OwnerSet, Owners, SignedHead } from './schema.ts';

/** What a verified proof says. */
export interface VerifiedProof {
  readonly deployment: DeploymentId;
  /** The owners in force after the newest head: who must sign the next one. */
  readonly owners: OwnerSet;
}

/**
 * Walks from genesis through every succession to the newest head, checking each quorum.
 * @throws `HEAD_FORGED`, `QUORUM_MISSING`, `GENESIS_MISMATCH`
 */
export function verifyProof(proof: HeadProof): VerifiedProof {
  throw new Error(proof.genesis.nonce);
}

/**
 * The proof of a version that follows `current` (null at version 0): a version that changes the owners
 * joins the successions. Verifies nothing.
 * @param owners the new version's.
 */
export function extendProof(
  current: HeadProof | null,
  genesis: Genesis,
  signed: SignedHead,
  owners: Owners | OwnerSet,
): HeadProof {
  throw new Error(String(current?.genesis.nonce) + genesis.nonce + signed.head.version + owners.threshold);
}
