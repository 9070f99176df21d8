/** Ending a fork: one head that follows the newest of one branch and names the newest of the other. */
import { MoatError } from '@moat/core';
import { ownerSetOf } from './genesis.ts';
import { headHash, headOf } from './head.ts';
import type { Contract, Head, HeadProof, MergedBranch, OwnerSet } from './schema.ts';

/** The version of a head that ends this fork: one above both branches. */
export function mergingVersion(ours: HeadProof, theirs: HeadProof): number {
  return Math.max(ours.newest.head.version, theirs.newest.head.version) + 1;
}

/**
 * The head that ends a fork: `ours` goes on, `theirs` ends. It needs quorums of {@link commonOwners}, of the
 * owners after each branch, and of the contract's own.
 * @throws `GENESIS_MISMATCH`, `VERSION_OLD` where there is no fork, `VERSION_GAP` unless the contract's version is
 * {@link mergingVersion}
 */
export function mergingHead(contract: Contract, ours: HeadProof, theirs: HeadProof): Head {
  requireFork(ours, theirs);
  const { deployment, version } = contract;
  const wanted = mergingVersion(ours, theirs);
  if (version !== wanted) {
    throw new MoatError('VERSION_GAP', `a version that ends this fork has number ${wanted}, not ${version}`, {
      details: { deployment, version, wanted },
    });
  }
  return headOf(contract, headHash(ours.newest.head), headHash(theirs.newest.head));
}

/**
 * What the proof of {@link mergingHead} shows of the branch that ends.
 * @throws `GENESIS_MISMATCH`, `VERSION_OLD` where there is no fork
 */
export function mergedBranch(ours: HeadProof, theirs: HeadProof): MergedBranch {
  requireFork(ours, theirs);
  const shared = sharedSuccessions(ours, theirs);
  return {
    shared,
    successions: theirs.successions.slice(shared),
    newest: theirs.newest,
    previous: ours.newest.head,
  };
}

/** The owners in force where two branches parted. */
export function commonOwners(a: HeadProof, b: HeadProof): OwnerSet {
  const shared = sharedSuccessions(a, b);
  return ownerSetOf(a.successions[shared - 1]?.owners ?? a.genesis.owners);
}

function sharedSuccessions(a: HeadProof, b: HeadProof): number {
  const parted = a.successions.findIndex(({ head }, i) => {
    const other = b.successions[i];
    return other === undefined || headHash(other.head) !== headHash(head);
  });
  return parted < 0 ? a.successions.length : parted;
}

function requireFork(ours: HeadProof, theirs: HeadProof): void {
  const [one, other] = [ours.newest.head, theirs.newest.head];
  if (one.deployment !== other.deployment) {
    throw new MoatError('GENESIS_MISMATCH', 'the branches are of different deployments', {
      details: { deployment: one.deployment, other: other.deployment },
    });
  }
  // Longer branches tell less: of two heads further apart only their owners know that they forked.
  if (headHash(one) === headHash(other) || one.previous === headHash(other) || other.previous === headHash(one)) {
    throw new MoatError('VERSION_OLD', 'there is no fork: these are one head, or one follows the other', {
      details: { deployment: one.deployment, version: one.version },
    });
  }
}
