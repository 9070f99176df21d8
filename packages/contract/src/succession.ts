/**
 * Proofs: all it takes to believe a head without its contract. Genesis names the first owners, each
 * succession is signed by the owners before it and the ones it brings in, the newest head by those in force.
 */
import { MoatError, type DeploymentId } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { deploymentIdOf, ownerSetOf, ownersHash } from './genesis.ts';
import { headHash } from './head.ts';
import { MAX_CONTRACT_BYTES } from './limits.ts';
import { isWithinLimits } from './parse/head.ts';
import { requireQuorum } from './quorum.ts';
import type { Genesis, Head, HeadProof, OwnerSet, Owners, SignedHead } from './schema.ts';

/** Leaves room for the largest newest head, so that no later version makes a proof unreadable. */
const MAX_SUCCESSION_BYTES = MAX_CONTRACT_BYTES - 65_536;

/** What a verified proof says. */
export interface VerifiedProof {
  readonly deployment: DeploymentId;
  /** The owners in force after the newest head: who must sign the next one. */
  readonly owners: OwnerSet;
}

/**
 * Walks from genesis through every succession to the newest head, checking each quorum. Says nothing about
 * age: hold the result against the pinned head with `compareProof`.
 * @throws `HEAD_FORGED`, `QUORUM_MISSING`, `GENESIS_MISMATCH`
 */
export function verifyProof({ genesis, successions, newest }: HeadProof): VerifiedProof {
  const deployment = deploymentIdOf(genesis);
  let owners = ownerSetOf(genesis.owners);
  let before: OwnerSet | undefined;
  let last: Head | undefined;
  for (const { head, signatures, owners: next } of successions) {
    checkStep(deployment, last, head);
    if (head.version === 0) throw forged(head, 'version 0 has the owners of genesis');
    if (head.owners !== ownersHash(next)) throw forged(head, 'the owners shown are not the ones it names');
    if (head.owners === ownersHash(owners)) throw forged(head, 'it is shown as a succession and changes no owner');
    requireQuorum(head, signatures, owners, next);
    [before, owners, last] = [owners, ownerSetOf(next), head];
  }

  const { head, signatures } = newest;
  if (last !== undefined && before !== undefined && head.version === last.version) {
    // The newest version is the last succession itself.
    if (headHash(head) !== headHash(last)) throw forged(head, 'the succession at this version is another');
    requireQuorum(head, signatures, before, owners);
  } else {
    checkStep(deployment, last, head);
    if (head.owners !== ownersHash(owners)) throw forged(head, 'it names owners that no succession brought in');
    requireQuorum(head, signatures, owners);
  }
  return { deployment, owners };
}

/**
 * The proof of a version that follows `current` (null at version 0): a version that changes the owners
 * joins the successions. Verifies nothing.
 * @param owners the new version's.
 * @throws `CONTRACT_INVALID` when the owners changed more often than a proof can tell: nobody would read it.
 */
export function extendProof(
  current: HeadProof | null,
  genesis: Genesis,
  signed: SignedHead,
  owners: Owners | OwnerSet,
): HeadProof {
  const before = current === null ? ownersHash(genesis.owners) : current.newest.head.owners;
  const successions = current?.successions ?? [];
  const newest: SignedHead = { head: signed.head, signatures: signed.signatures };
  if (signed.head.owners === before) return { genesis, successions, newest };
  const extended = [...successions, { ...newest, owners: ownerSetOf(owners) }];
  if (!isWithinLimits(extended) || canonicalBytes(extended).length > MAX_SUCCESSION_BYTES) {
    throw new MoatError('CONTRACT_INVALID', 'the owners changed too often, or too many signed each change', {
      details: { deployment: signed.head.deployment, version: signed.head.version },
    });
  }
  return { genesis, successions: extended, newest };
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
