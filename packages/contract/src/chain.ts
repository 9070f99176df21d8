/** Versions in order: what may follow what, rollback and fork. */
import type { Contract, Genesis, Head, HeadProof, SignedHead } from './schema.ts';

/**
 * `first` (nothing pinned), `same`, `older` (refused), `next` (names ours as previous), `newer` (higher,
 * with versions between that we missed), `fork` (beside ours).
 */
export type HeadOrder = 'first' | 'same' | 'older' | 'next' | 'newer' | 'fork';

/** Both heads are verified and of one deployment. */
export function compareHeads(pinned: SignedHead | null, offered: SignedHead): HeadOrder {
  throw new Error(String(pinned?.head.version) + offered.head.version);
}

/** A version we hold. */
export interface HeldVersion {
  readonly contract: Contract;
  readonly head: Head;
}

/** A version that is offered. */
export interface OfferedVersion {
  readonly contract: Contract;
  readonly signed: SignedHead;
}

/**
 * May `next` follow `current` directly? Version n+1 needs a quorum of version n's owners; one that changes
 * owners is signed by a quorum of the new ones too. Checks the contract itself as well.
 * @param current null when `next` is version 0.
 * @throws `VERSION_OLD`, `VERSION_GAP`, `HEAD_FORKED`, `HEAD_FORGED`, `QUORUM_MISSING`, `HEAD_MISMATCH`,
 * `GENESIS_MISMATCH`, `DEPLOYMENT_ENDED`, `CONTRACT_INVALID`, `ADDRESS_INVALID`
 */
export function checkNextVersion(current: HeldVersion | null, genesis: Genesis, next: OfferedVersion): void {
  throw new Error(String(current?.head.version) + genesis.nonce + next.contract.name);
}

/**
 * May a node that perhaps missed versions take this contract? The proof is verified, the contract is the
 * one it names, and it is not below what is pinned. Returns `same` when it is the pinned one.
 * @throws as {@link checkNextVersion}
 */
export function checkProvenVersion(
  pinned: SignedHead | null,
  proof: HeadProof,
  contract: Contract,
): 'first' | 'same' | 'next' | 'newer' {
  throw new Error(String(pinned?.head.version) + proof.genesis.nonce + contract.name);
}
