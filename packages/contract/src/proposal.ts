/** Versions on their way: proposed by one owner, signed by others, applied once a quorum has signed. */
import { MoatError, type Hash, type OwnerKey, type Signer } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { checkNextHead, type HeldVersion } from './chain.ts';
import { checkContract } from './check.ts';
import { ownerSetOf, ownersHash } from './genesis.ts';
import { contractMatchesHead, headHash, headOf, signHead } from './head.ts';
import { MAX_CONTRACT_BYTES } from './limits.ts';
import { validSignatures } from './quorum.ts';
import type { Contract, Genesis, Head, OwnerSet, OwnerSignature, Proposal } from './schema.ts';

/** What the signatures of all owners, on head and seal, add to a proposal at most. */
const SIGNATURE_BYTES = 32_768;

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
  /** Only where the version changes the owners: what the new ones signed, seal included. */
  readonly newOwners?: OwnerStanding;
}

/**
 * The unsigned proposal of a version that follows `current` (null: version 0).
 * @throws `CONTRACT_INVALID` when contract and signatures together would be larger than 1 MiB.
 */
export function proposalOf(current: HeldVersion | null, next: Contract): Proposal {
  const head = headOf(next, current === null ? null : headHash(current.head));
  const proposal: Proposal = { type: 'moat/proposal/1', contract: next, head, signatures: [] };
  if (canonicalBytes(proposal).length > MAX_CONTRACT_BYTES - SIGNATURE_BYTES) {
    throw new MoatError('CONTRACT_INVALID', 'the version is too large to be proposed: 1 MiB with its signatures');
  }
  return needsSeal(current, head) ? { ...proposal, seal: { head: sealOf(next, head), signatures: [] } } : proposal;
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
 * @param owners who may sign: the owners in force before it; the version's own are added.
 * @throws `CONTRACT_INVALID` unless both are of one head and one seal.
 */
export function mergeProposals(a: Proposal, b: Proposal, owners: OwnerSet): Proposal {
  if (proposalId(a) !== proposalId(b) || sealId(a) !== sealId(b)) {
    throw new MoatError('CONTRACT_INVALID', 'these are different proposals', {
      details: { version: a.head.version, other: b.head.version },
    });
  }
  const deciding = [owners, ownerSetOf(a.contract.owners)];
  const merged = { ...a, signatures: validSignatures(a.head, [...a.signatures, ...b.signatures], deciding) };
  if (a.seal === undefined) return merged;
  const seals = [...a.seal.signatures, ...(b.seal?.signatures ?? [])];
  return { ...merged, seal: { head: a.seal.head, signatures: validSignatures(a.seal.head, seals, deciding) } };
}

/**
 * Who has signed and who is missing. Says nothing about what is proposed: {@link checkProposal} does.
 * @param current the version it follows; null at version 0.
 */
export function proposalStanding(proposal: Proposal, current: HeldVersion | null): ProposalStanding {
  const { head, signatures, seal, contract } = proposal;
  const next = ownerSetOf(contract.owners);
  const before = current === null ? next : ownerSetOf(current.contract.owners);
  const all = [...new Set([...before.keys, ...next.keys].map(({ key }) => key))];
  const signedHead = new Set(validSignatures(head, signatures, [before, next]).map(({ key }) => key));
  const signedSeal = seal && new Set(validSignatures(seal.head, seal.signatures, [next]).map(({ key }) => key));
  const isNew = new Set(next.keys.map(({ key }) => key));
  // A new owner who signed the head alone has to sign again: without the seal the change could be forked.
  const signers = all.filter(
    (key) => signedHead.has(key) && (signedSeal === undefined || !isNew.has(key) || signedSeal.has(key)),
  );
  const old = standingOf(signedHead, before);
  const missing = all.filter((key) => !signers.includes(key));
  if (seal === undefined) return { ...old, signers, missing };
  const newOwners = standingOf(new Set(signers), next);
  return { ...old, met: old.met && newOwners.met, signers, missing, newOwners };
}

/**
 * May this version follow `current`, once enough owners have signed? Checks everything but the quorum.
 * @param current null when version 0 is proposed.
 * @throws `PROPOSAL_STALE` when `current` is not what it was made for, `HEAD_FORGED` for a seal that is none,
 * and what `checkNextVersion` throws save `QUORUM_MISSING`
 */
export function checkProposal(current: HeldVersion | null, genesis: Genesis, proposal: Proposal): void {
  const { contract, head, seal } = proposal;
  if (current !== null && head.previous !== headHash(current.head)) {
    throw new MoatError('PROPOSAL_STALE', `version ${head.version} was proposed on top of another version`, {
      details: { deployment: head.deployment, version: head.version, current: current.head.version },
      next: ['moat plan', 'moat apply'],
    });
  }
  checkNextHead(current, genesis, { contract, signed: proposal });
  checkContract(contract);
  contractMatchesHead(contract, head);
  const isSealed = seal !== undefined && headHash(seal.head) === headHash(sealOf(contract, head));
  if (needsSeal(current, head) ? isSealed : seal === undefined) return;
  throw new MoatError('HEAD_FORGED', `the seal of version ${head.version} is not the empty version after it`, {
    details: { deployment: head.deployment, version: head.version },
  });
}

function needsSeal(current: HeldVersion | null, head: Head): boolean {
  return current !== null && ownersHash(ownerSetOf(current.contract.owners)) !== head.owners;
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

function standingOf(signers: ReadonlySet<OwnerKey>, { keys, threshold }: OwnerSet): OwnerStanding {
  const weight = keys.reduce((sum, { key, weight: own }) => (signers.has(key) ? sum + own : sum), 0);
  return { met: weight >= threshold, weight, threshold };
}
