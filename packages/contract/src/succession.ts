/**
 * Proofs: all it takes to believe a head without its contract. Genesis names the first owners, each
 * succession is signed by the owners before it and the ones it brings in, the newest head by those in force.
 * A head that ends a fork stands among the successions too, with the branch that does not go on.
 */
import { MoatError, type DeploymentId } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { deploymentIdOf, ownerSetOf, ownersHash } from './genesis.ts';
import { headHash } from './head.ts';
import { MAX_CONTRACT_BYTES } from './limits.ts';
import { isWithinLimits } from './parse/head.ts';
import { requireQuorum } from './quorum.ts';
import { trimSuccessions } from './trim-proof.ts';
import type { Genesis, Head, HeadProof, MergedBranch, OwnerSet, Owners, SignedHead, Succession } from './schema.ts';

/** Leaves room for the largest newest head, so that no later version makes a proof unreadable. */
const MAX_SUCCESSION_BYTES = MAX_CONTRACT_BYTES - 65_536;

/** What a verified proof says. */
export interface VerifiedProof {
  readonly deployment: DeploymentId;
  /** The owners in force after the newest head: who must sign the next one. */
  readonly owners: OwnerSet;
}

/** A point of a branch from which on an owner set is in force: genesis, a change of owners, the end of a fork. */
interface Step {
  readonly owners: OwnerSet;
  /** Absent at genesis. */
  readonly head?: Head;
  /** Each must reach its threshold on `head`. */
  readonly quorums: readonly OwnerSet[];
}

/** From genesis to a point, oldest first. */
type Branch = readonly [Step, ...Step[]];

/**
 * Walks from genesis through every succession to the newest head, checking each quorum. A head that ends a fork
 * needs those of the owners at the last common version and after each branch. Says nothing about age: hold the
 * result against the pinned head with `compareProof`.
 * @throws `HEAD_FORGED`, `QUORUM_MISSING`, `GENESIS_MISMATCH`
 */
export function verifyProof({ genesis, successions, newest }: HeadProof): VerifiedProof {
  const deployment = deploymentIdOf(genesis);
  const branch = checkBranch(deployment, [startOf(genesis)], successions, newest);
  return { deployment, owners: lastOf(branch).owners };
}

/**
 * Whose quorums a head needs that ends a fork and follows `current`, which was verified. Checks the branch shown,
 * not the signatures on `head`.
 * @throws as {@link verifyProof}
 */
export function checkMerge(current: HeadProof, head: Head, merged: MergedBranch): readonly OwnerSet[] {
  const deployment = deploymentIdOf(current.genesis);
  const before = [startOf(current.genesis), ...current.successions.map(stepOf)] as const;
  checkStep(deployment, lastOf(before).head, head);
  return mergeQuorums(deployment, before, head, merged);
}

/** Branches are as deep as parsing allows (`mergeDepth`), and so is the recursion. */
function checkBranch(
  deployment: DeploymentId,
  shared: Branch,
  successions: readonly Succession[],
  newest: SignedHead,
): Branch {
  let branch = shared;
  for (const succession of successions) branch = [...branch, checkSuccession(deployment, branch, succession)];
  const last = lastOf(branch);
  const { head, signatures } = newest;
  // The newest version may be the last succession itself.
  if (!isThere(deployment, last.head, head)) {
    if (head.merges !== undefined) throw forged(head, 'it ends a fork and does not show the other branch');
    if (head.owners !== ownersHash(last.owners)) throw forged(head, 'it names owners that no succession brought in');
    requireQuorum(head, signatures, last.owners);
  } else requireQuorum(head, signatures, ...last.quorums);
  return branch;
}

function checkSuccession(deployment: DeploymentId, branch: Branch, succession: Succession): Step {
  const { head, signatures, owners, merged } = succession;
  const before = lastOf(branch);
  checkStep(deployment, before.head, head);
  if (head.version === 0) throw forged(head, 'version 0 has the owners of genesis');
  if (head.owners !== ownersHash(owners)) throw forged(head, 'the owners shown are not the ones it names');
  if ((head.merges === undefined) !== (merged === undefined)) {
    throw forged(head, 'the branch that ends is not shown, or is not named by it');
  }
  if (merged === undefined && head.owners === ownersHash(before.owners)) {
    throw forged(head, 'it is shown as a succession and changes no owner');
  }
  const others = merged === undefined ? [before.owners] : mergeQuorums(deployment, branch, head, merged);
  const step = { ...stepOf(succession), quorums: [...others, ownerSetOf(owners)] };
  requireQuorum(head, signatures, ...step.quorums);
  return step;
}

/** The owners at the last common version, after the branch that goes on, and after the one that ends. */
function mergeQuorums(
  deployment: DeploymentId,
  branch: Branch,
  head: Head,
  { shared, successions, newest, previous }: MergedBranch,
): readonly OwnerSet[] {
  const before = lastOf(branch);
  const base = branch[shared];
  if (base === undefined) throw forged(head, 'the branches cannot share more changes of owners than there are');
  if (headHash(previous) !== head.previous) throw forged(head, 'it does not follow the head shown as the one before');
  if (!isThere(deployment, before.head, previous)) {
    if (previous.owners !== ownersHash(before.owners)) throw forged(head, 'the head before it names other owners');
    if (previous.merges !== undefined) throw forged(head, 'the head before it ends a fork that is not shown');
  }
  if (headHash(newest.head) !== head.merges) throw forged(head, 'the branch shown is not the one it ends');
  if (head.merges === head.previous) throw forged(head, 'it ends the branch that it follows');
  if (head.version !== Math.max(previous.version, newest.head.version) + 1) {
    throw forged(head, 'its version is not one above both branches');
  }
  const [first] = successions;
  const own = branch[shared + 1]?.head;
  if (first !== undefined && own !== undefined && headHash(first.head) === headHash(own)) {
    throw forged(head, 'the branches share more than it says');
  }
  if (newest.head.version <= (base.head?.version ?? -1)) throw forged(head, 'what it ends is no branch');
  const ended = checkBranch(deployment, branch.slice(0, shared + 1) as unknown as Branch, successions, newest);
  return [base.owners, before.owners, lastOf(ended).owners];
}

/** True when `head` is `last` itself; otherwise it comes after it. @throws `HEAD_FORGED`, `GENESIS_MISMATCH` */
function isThere(deployment: DeploymentId, last: Head | undefined, head: Head): boolean {
  if (last?.version === head.version) {
    if (headHash(head) === headHash(last)) return true;
    throw forged(head, 'the succession at this version is another');
  }
  checkStep(deployment, last, head);
  return false;
}

function startOf(genesis: Genesis): Step {
  const owners = ownerSetOf(genesis.owners);
  return { owners, quorums: [owners] };
}

/** Of a succession that was verified, or is just being. */
function stepOf({ head, owners }: Succession): Step {
  return { head, owners: ownerSetOf(owners), quorums: [] };
}

function lastOf(branch: Branch): Step {
  return branch.at(-1) ?? branch[0];
}

/**
 * The proof of a version that follows `current` (null at version 0): a version that changes the owners or ends
 * a fork joins the successions. Verifies nothing, but leaves out signatures that count nothing where they fill it.
 * @param owners the new version's.
 * @param merged the branch that ends, where the head names one.
 * @throws `CONTRACT_INVALID` when the owners changed more often than a proof can tell, or forks ended inside
 * forks: nobody would read it. So does a head that ends a branch that is not given.
 */
export function extendProof(
  current: HeadProof | null,
  genesis: Genesis,
  signed: SignedHead,
  owners: Owners | OwnerSet,
  merged?: MergedBranch,
): HeadProof {
  const before = current === null ? ownersHash(genesis.owners) : current.newest.head.owners;
  const successions = current?.successions ?? [];
  const newest: SignedHead = { head: signed.head, signatures: signed.signatures };
  if ((signed.head.merges === undefined) !== (merged === undefined)) {
    throw new MoatError('CONTRACT_INVALID', 'the branch that ends and the head that names it come together', {
      details: { deployment: signed.head.deployment, version: signed.head.version },
    });
  }
  if (signed.head.owners === before && merged === undefined) return { genesis, successions, newest };
  const succession = { ...newest, owners: ownerSetOf(owners), ...(merged === undefined ? {} : { merged }) };
  const whole = [...successions, succession];
  const extended = fits(whole) ? whole : trimSuccessions(genesis, whole);
  if (!fits(extended)) {
    throw new MoatError(
      'CONTRACT_INVALID',
      'the owners changed or forks ended too often, or too many signed each time',
      {
        details: { deployment: signed.head.deployment, version: signed.head.version },
      },
    );
  }
  return { genesis, successions: extended, newest };
}

function fits(successions: readonly Succession[]): boolean {
  return isWithinLimits(successions) && canonicalBytes(successions).length <= MAX_SUCCESSION_BYTES;
}

/** `head` comes after `last`, or opens the chain. */
function checkStep(deployment: DeploymentId, last: Head | undefined, head: Head): void {
  if (head.deployment !== deployment) {
    throw new MoatError('GENESIS_MISMATCH', 'the head and the genesis are of different deployments', {
      details: { deployment, head: head.deployment },
    });
  }
  if ((head.previous === null) !== (head.version === 0)) throw forged(head, 'only version 0 has nothing before it');
  if (last === undefined) return;
  if (head.version <= last.version) throw forged(head, `version ${last.version} comes before it`);
  if (head.version === last.version + 1 && head.previous !== headHash(last)) {
    throw forged(head, `it does not follow version ${last.version}`);
  }
}

function forged({ deployment, version }: Head, reason: string): MoatError<'HEAD_FORGED'> {
  return new MoatError('HEAD_FORGED', `the head of version ${version} is forged: ${reason}`, {
    details: { deployment, version },
  });
}
