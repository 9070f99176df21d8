/** Versions in order: what may follow what, rollback and fork. */
import { MoatError, type Hash } from '@moat/core';
import { checkContract } from './check.ts';
import { deploymentIdOf, ownerSetOf, ownersHash } from './genesis.ts';
import { contractMatchesHead, headHash } from './head.ts';
import { requireQuorum } from './quorum.ts';
import { verifyProof, type VerifiedProof } from './succession.ts';
import type { Contract, Genesis, Head, HeadProof, OwnerSet, SignedHead, Succession } from './schema.ts';

/**
 * `first` (nothing pinned), `same`, `older` (refused), `next` (names ours as previous, or as the branch that
 * ends), `newer` (higher, with versions between that we missed), `fork` (beside ours).
 */
export type HeadOrder = 'first' | 'same' | 'older' | 'next' | 'newer' | 'fork';

/**
 * Both heads are verified and of one deployment. `newer` alone is no reason to take a head: only its whole
 * proof shows whether the pinned owners agreed ({@link compareProof}).
 */
export function compareHeads(pinned: Pick<SignedHead, 'head'> | null, offered: Pick<SignedHead, 'head'>): HeadOrder {
  if (pinned === null) return 'first';
  const [ours, theirs] = [pinned.head, offered.head];
  if (theirs.version < ours.version) return 'older';
  if (theirs.version === ours.version) return headHash(theirs) === headHash(ours) ? 'same' : 'fork';
  if (theirs.version > ours.version + 1) return 'newer';
  const hash = headHash(ours);
  return theirs.previous === hash || theirs.merges === hash ? 'next' : 'fork';
}

/** As {@link HeadOrder}, or `usurped`: signed by owners who were not in force at that version. */
export type ProofOrder = HeadOrder | 'usurped';

/**
 * Where a verified proof stands beside the one that is pinned. A proof says that its owners signed, not that
 * they still were the owners: one that leaves out a succession known here is `usurped`, whatever its version.
 * Only who was in force at the pinned version, or after it, can make a fork; else dropped owners could stop
 * every node by signing beside it. A proof in which the pinned head is the newest of a branch that ended is
 * taken: the owners of that branch agreed. Every other head of such a branch is beside it, as before.
 */
export function compareProof(pinned: HeadProof | null, offered: HeadProof): ProofOrder {
  const order = compareHeads(pinned?.newest ?? null, offered.newest);
  if (pinned === null || order === 'same' || order === 'older') return order;
  const { version } = pinned.newest.head;
  const pinnedHash = headHash(pinned.newest.head);
  if (endsBranch(offered.successions, pinnedHash)) {
    return offered.newest.head.version === version + 1 ? 'next' : 'newer';
  }
  const isBefore = ({ head }: SignedHead): boolean => head.version < version;
  const known = pinned.successions.filter(isBefore);
  const shown = offered.successions.filter(isBefore);
  if (known.length !== shown.length || known.some(({ head }, i) => !isHead(shown[i], headHash(head)))) return 'usurped';

  if (offered.successions.some((succession) => compareHeads(pinned.newest, succession) === 'fork')) return 'fork';
  const isSuccession = pinned.successions.length > known.length;
  const isBeyond = offered.newest.head.version > version;
  if (isSuccession && isBeyond && !offered.successions.some((one) => isHead(one, pinnedHash))) return 'usurped';
  return order;
}

/** True when one of these heads, or one of a branch that they end, ends the branch whose newest head this is. */
function endsBranch(successions: readonly Succession[], newest: Hash): boolean {
  return successions.some(
    ({ head, merged }) => merged !== undefined && (head.merges === newest || endsBranch(merged.successions, newest)),
  );
}

function isHead(signed: SignedHead | undefined, hash: Hash): boolean {
  return signed !== undefined && headHash(signed.head) === hash;
}

/** A version we hold. */
export interface HeldVersion {
  readonly contract: Contract;
  readonly head: Head;
}

/** A version we hold, with the proof by which we came to it. */
export interface ProvenVersion {
  readonly contract: Contract;
  readonly proof: HeadProof;
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
  const { contract, signed } = next;
  checkNextHead(current, genesis, next);
  const owners = ownerSetOf(contract.owners);
  requireQuorum(signed.head, signed.signatures, ownersBefore(current, genesis), owners);
  // Before its publications are derived: their number is bounded by it.
  checkContract(contract);
  contractMatchesHead(contract, signed.head);
}

/** The order alone: what {@link checkNextVersion} asks of a head before its signatures and its contract. @throws as there */
export function checkNextHead(current: HeldVersion | null, genesis: Genesis, next: OfferedVersion): void {
  const { contract, signed } = next;
  const { head } = signed;
  if (head.deployment !== deploymentIdOf(genesis) || contract.deployment !== head.deployment) throw otherGenesis(head);

  if (current === null) {
    if (head.version !== 0 || head.previous !== null) throw gap(head, 'version 0 comes first');
    if (ownersHash(ownerSetOf(contract.owners)) !== ownersHash(genesis.owners)) throw otherGenesis(head);
    return;
  }
  if (current.contract.state === 'ended') throw ended(head);
  if (head.merges !== undefined) throw gap(head, 'it ends a fork, which only its whole proof can show');
  const order = refuse(compareHeads(current, signed), current.head, head);
  if (order === 'same') refuse('older', current.head, head);
  if (order !== 'next') throw gap(head, `version ${current.head.version} is the current one`);
}

function ownersBefore(current: HeldVersion | null, genesis: Genesis): OwnerSet {
  return ownerSetOf(current === null ? genesis.owners : current.contract.owners);
}

/**
 * May a node that perhaps missed versions take this contract? The proof is verified, the contract is the
 * one it names, and it is not below what is pinned. Returns `same` when it is the pinned one.
 * @param verified what {@link verifyProof} said of this very proof, where it was asked before.
 * @throws as {@link checkNextVersion}, save `VERSION_GAP`.
 */
export function checkProvenVersion(
  current: ProvenVersion | null,
  proof: HeadProof,
  contract: Contract,
  verified: VerifiedProof = verifyProof(proof),
): 'first' | 'same' | 'next' | 'newer' {
  const { head } = proof.newest;
  const { deployment } = verified;
  const pinned = current?.proof ?? null;
  if (pinned !== null && pinned.newest.head.deployment !== deployment) throw otherGenesis(head);
  const order = refuse(compareProof(pinned, proof), pinned?.newest.head, head);
  if (current?.contract.state === 'ended' && order !== 'same') throw ended(head);
  // Before its publications are derived: their number is bounded by it.
  checkContract(contract);
  contractMatchesHead(contract, head);
  return order;
}

/** Passes every order but those that a node never follows. @throws `VERSION_OLD`, `HEAD_FORKED`, `HEAD_FORGED` */
export function refuse(
  order: ProofOrder,
  pinned: Head | undefined,
  { deployment, version }: Head,
): Exclude<HeadOrder, 'older' | 'fork'> {
  const details = { deployment, version, pinned: pinned?.version ?? null };
  if (order === 'older') {
    throw new MoatError('VERSION_OLD', `version ${version} is not newer than version ${pinned?.version}, seen here`, {
      details,
    });
  }
  if (order === 'fork') {
    throw new MoatError('HEAD_FORKED', `version ${version} does not lie on the chain of version ${pinned?.version}`, {
      details,
    });
  }
  if (order === 'usurped') {
    throw new MoatError('HEAD_FORGED', `version ${version} is signed by owners who were replaced before it`, {
      details,
    });
  }
  return order;
}

function otherGenesis({ deployment, version }: Head): MoatError<'GENESIS_MISMATCH'> {
  return new MoatError('GENESIS_MISMATCH', 'the version and the genesis are of different deployments', {
    details: { deployment, version },
  });
}

function gap({ deployment, version }: Head, reason: string): MoatError<'VERSION_GAP'> {
  return new MoatError('VERSION_GAP', `version ${version} cannot be taken now: ${reason}`, {
    details: { deployment, version },
  });
}

function ended({ deployment, version }: Head): MoatError<'DEPLOYMENT_ENDED'> {
  return new MoatError('DEPLOYMENT_ENDED', 'the owners have ended this deployment', {
    details: { deployment, version },
  });
}
