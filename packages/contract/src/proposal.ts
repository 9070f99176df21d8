/** Versions on their way: proposed by one owner, signed by others, applied once a quorum has signed. */
import { MoatError, type Hash, type Signer } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { checkNextHead, type HeldVersion } from './chain.ts';
import { checkContract } from './check.ts';
import { ownerSetOf, ownersHash } from './genesis.ts';
import { contractMatchesHead, headHash, headOf, signHead } from './head.ts';
import { MAX_CONTRACT_BYTES } from './limits.ts';
import { mergedBranch, mergingHead } from './merge.ts';
import { proofOf, proposalOwners, type ProposalBase } from './proposal-owners.ts';
import { validSignatures } from './quorum.ts';
import { checkMerge } from './succession.ts';
import type { Contract, Genesis, Head, HeadProof, MergedBranch, OwnerSignature, Proposal } from './schema.ts';

/** What the seal and the signatures of all owners add to a proposal at most. */
const SIGNATURE_BYTES = 49_152;

/**
 * The unsigned proposal of a version that follows `current` (null: version 0).
 * @param options.ends the newest proof of the other branch of a fork, which this version ends.
 * @throws `CONTRACT_INVALID` when contract and signatures together would be larger than 1 MiB; where it ends a
 * fork, what `mergingHead` throws, and `HEAD_FORKED` without the proof of `current`
 */
export function proposalOf(
  current: ProposalBase | null,
  next: Contract,
  options: { readonly ends?: HeadProof } = {},
): Proposal {
  const { head, merged } = headAndBranch(current, next, options.ends);
  const unsealed: Proposal = {
    type: 'moat/proposal/1',
    contract: next,
    head,
    signatures: [],
    ...(merged === undefined ? {} : { merged }),
  };
  if (canonicalBytes(unsealed).length > MAX_CONTRACT_BYTES - SIGNATURE_BYTES) {
    throw new MoatError('CONTRACT_INVALID', 'the version is too large to be proposed: 1 MiB with its signatures');
  }
  return needsSeal(current, next, head)
    ? { ...unsealed, seal: { head: sealOf(next, head), signatures: [] } }
    : unsealed;
}

function headAndBranch(
  current: ProposalBase | null,
  next: Contract,
  ends: HeadProof | undefined,
): { readonly head: Head; readonly merged?: MergedBranch } {
  if (ends === undefined) return { head: headOf(next, current === null ? null : headHash(current.head)) };
  const proof = proofOf(current, next.version);
  return { head: mergingHead(next, proof, ends), merged: mergedBranch(proof, ends) };
}

/** What a proposal is known by: the hash of its head, the same whoever has signed. */
export function proposalId({ head }: Pick<Proposal, 'head'>): Hash {
  return headHash(head);
}

/** The contract of the seal: the proposed one, a version later. */
export function sealedContract(contract: Contract): Contract {
  return { ...contract, version: contract.version + 1 };
}

/** Adds one owner's signatures, on head and seal. Signing again changes nothing. */
export function signProposal(proposal: Proposal, signer: Signer): Proposal {
  const { head, signatures, seal } = proposal;
  return {
    ...proposal,
    signatures: withSignature(signatures, signHead(head, signer)),
    ...(seal === undefined
      ? {}
      : { seal: { ...seal, signatures: withSignature(seal.signatures, signHead(seal.head, signer)) } }),
  };
}

/**
 * One proposal with the valid signatures of both; those of nobody who decides here are dropped.
 * @param current the version it follows; null at version 0.
 * @throws `CONTRACT_INVALID` unless both are of one head and one seal, `HEAD_FORKED` where it ends a fork and the
 * proof of `current` is not given
 */
export function mergeProposals(a: Proposal, b: Proposal, current: ProposalBase | null): Proposal {
  if (proposalId(a) !== proposalId(b) || sealId(a) !== sealId(b)) {
    throw new MoatError('CONTRACT_INVALID', 'these are different proposals', {
      details: { version: a.head.version, other: b.head.version },
    });
  }
  const { before, next, common = next, other = next } = proposalOwners(a, current);
  const both = [...a.signatures, ...b.signatures];
  const merged: Proposal = { ...a, signatures: validSignatures(a.head, both, [before, next, common, other]) };
  if (a.seal === undefined) return merged;
  const seals = [...a.seal.signatures, ...(b.seal?.signatures ?? [])];
  return { ...merged, seal: { head: a.seal.head, signatures: validSignatures(a.seal.head, seals, [next]) } };
}

/**
 * May this version follow `current`, once enough owners have signed? Checks everything but the quorum.
 * @param current null when version 0 is proposed.
 * @throws `PROPOSAL_STALE` when `current` is not what it was made for, `HEAD_FORGED` for a seal or a branch that is
 * none, `HEAD_FORKED` where it ends a fork and the proof of `current` is not given, and what `checkNextVersion`
 * throws save `QUORUM_MISSING` of this version
 */
export function checkProposal(current: ProposalBase | null, genesis: Genesis, proposal: Proposal): void {
  const { contract, head, seal, merged } = proposal;
  if (current !== null && head.previous !== headHash(current.head)) {
    throw new MoatError('PROPOSAL_STALE', `version ${head.version} was proposed on top of another version`, {
      details: { deployment: head.deployment, version: head.version, current: current.head.version },
      next: ['moat plan', 'moat apply'],
    });
  }
  if (merged === undefined || current === null) checkNextHead(current, genesis, { contract, signed: proposal });
  else {
    requireActive(current, head);
    checkMerge(proofOf(current, head.version), head, merged);
  }
  checkContract(contract);
  contractMatchesHead(contract, head);
  const isSealed = seal !== undefined && headHash(seal.head) === headHash(sealOf(contract, head));
  if (needsSeal(current, contract, head) ? isSealed : seal === undefined) return;
  throw new MoatError('HEAD_FORGED', `the seal of version ${head.version} is not the empty version after it`, {
    details: { deployment: head.deployment, version: head.version },
  });
}

function requireActive({ contract }: ProposalBase, { deployment, version }: Head): void {
  if (contract.state !== 'ended') return;
  throw new MoatError('DEPLOYMENT_ENDED', 'the owners have ended this deployment', {
    details: { deployment, version },
  });
}

/** Where those who are replaced, or whose branch ends, could otherwise sign beside it. Nothing follows the end. */
function needsSeal(current: HeldVersion | null, { state }: Contract, head: Head): boolean {
  if (current === null || state === 'ended') return false;
  return head.merges !== undefined || ownersHash(ownerSetOf(current.contract.owners)) !== head.owners;
}

function sealOf(contract: Contract, head: Head): Head {
  return headOf(sealedContract(contract), headHash(head));
}

function sealId({ seal }: Proposal): Hash | undefined {
  return seal === undefined ? undefined : headHash(seal.head);
}

function withSignature(signatures: readonly OwnerSignature[], own: OwnerSignature): OwnerSignature[] {
  return [...signatures.filter(({ key }) => key !== own.key), own];
}
