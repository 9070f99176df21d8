/** How far a proposal is: who has signed, who is missing. */
import type { OwnerKey } from '@moat/core';
import { proposalOwners, type ProposalBase } from './proposal-owners.ts';
import { validSignatures } from './quorum.ts';
import type { OwnerSet, Proposal } from './schema.ts';

/** How far a proposal is, under one owner set. */
export interface OwnerStanding {
  readonly met: boolean;
  readonly weight: number;
  readonly threshold: number;
}

/** How far a proposal is; `weight` and `threshold` are those of the owners in force now. */
export interface ProposalStanding extends OwnerStanding {
  /** Everybody whose signature is needed has signed: it can be applied. */
  readonly met: boolean;
  /** Owners, old or new, whose signatures are valid; each once. */
  readonly signers: readonly OwnerKey[];
  /** Owners, old or new, who have not signed. */
  readonly missing: readonly OwnerKey[];
  /** Only where the version changes the owners or ends a fork: what its own owners signed, seal included. */
  readonly newOwners?: OwnerStanding;
  /** Only where it ends a fork: the owners where the branches parted, and after the branch that ends. */
  readonly commonOwners?: OwnerStanding;
  readonly otherOwners?: OwnerStanding;
}

/**
 * Who has signed and who is missing. Says nothing about what is proposed: {@link checkProposal} does.
 * @param current the version it follows; null at version 0.
 * @throws `HEAD_FORKED` where it ends a fork and the proof of `current` is not given
 */
export function proposalStanding(proposal: Proposal, current: ProposalBase | null): ProposalStanding {
  const { head, signatures, seal } = proposal;
  const { before, next, common, other } = proposalOwners(proposal, current);
  const all = keysOf([before, next, common ?? next, other ?? next]);
  const signedHead = new Set(validSignatures(head, signatures, [{ threshold: 1, keys: all }]).map(({ key }) => key));
  const signedSeal = seal && new Set(validSignatures(seal.head, seal.signatures, [next]).map(({ key }) => key));
  const isNew = new Set(next.keys.map(({ key }) => key));
  // A new owner who signed the head alone has to sign again: without the seal the change could be forked.
  const signers = all.flatMap(({ key }) =>
    signedHead.has(key) && (signedSeal === undefined || !isNew.has(key) || signedSeal.has(key)) ? [key] : [],
  );
  const own = standingOf(signedHead, before);
  const standings = {
    ...(seal === undefined ? {} : { newOwners: standingOf(new Set(signers), next) }),
    ...(common === undefined ? {} : { commonOwners: standingOf(signedHead, common) }),
    ...(other === undefined ? {} : { otherOwners: standingOf(signedHead, other) }),
  };
  return {
    ...own,
    met: own.met && Object.values(standings).every(({ met }) => met),
    signers,
    missing: all.flatMap(({ key }) => (signers.includes(key) ? [] : [key])),
    ...standings,
  };
}

/** Each key once. */
function keysOf(sets: readonly OwnerSet[]): OwnerSet['keys'] {
  return [...new Map(sets.flatMap(({ keys }) => keys.map((one) => [one.key, one] as const))).values()];
}

function standingOf(signers: ReadonlySet<OwnerKey>, { keys, threshold }: OwnerSet): OwnerStanding {
  const weight = keys.reduce((sum, { key, weight: own }) => (signers.has(key) ? sum + own : sum), 0);
  return { met: weight >= threshold, weight, threshold };
}
