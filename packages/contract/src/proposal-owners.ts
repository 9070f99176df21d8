/** Who decides over a proposal: the owners in force, those it brings in and, where it ends a fork, both branches'. */
import { MoatError } from '@moat/core';
import type { HeldVersion } from './chain.ts';
import { ownerSetOf } from './genesis.ts';
import type { HeadProof, OwnerSet, Proposal } from './schema.ts';

/** The version a proposal is to follow. */
export interface ProposalBase extends HeldVersion {
  /** Its proof, without which no proposal that ends a fork can be judged. */
  readonly proof?: HeadProof;
}

/** Each of these owner sets must reach its threshold on the head. */
export interface ProposalOwners {
  /** In force at the version before; at version 0 the version's own. */
  readonly before: OwnerSet;
  /** The version's own. */
  readonly next: OwnerSet;
  /** Only where it ends a fork: in force where the branches parted. */
  readonly common?: OwnerSet;
  /** Only where it ends a fork: in force after the branch that ends. */
  readonly other?: OwnerSet;
}

/**
 * As the proposal shows them; `checkProposal` verifies that.
 * @throws `HEAD_FORKED` where it ends a fork and the proof of `current` is not given
 */
export function proposalOwners({ contract, head, merged }: Proposal, current: ProposalBase | null): ProposalOwners {
  const next = ownerSetOf(contract.owners);
  const before = current === null ? next : ownerSetOf(current.contract.owners);
  if (merged === undefined) return { before, next };
  const { successions, genesis } = proofOf(current, head.version);
  const common = ownerSetOf(successions[merged.shared - 1]?.owners ?? genesis.owners);
  return { before, next, common, other: ownerSetOf(merged.successions.at(-1)?.owners ?? common) };
}

/** @throws `HEAD_FORKED` unless the proof is there. */
export function proofOf(current: ProposalBase | null, version: number): HeadProof {
  if (current?.proof !== undefined) return current.proof;
  throw new MoatError(
    'HEAD_FORKED',
    `version ${version} ends a fork: only who holds the proof of a branch can judge it`,
    {
      details: { version },
    },
  );
}
