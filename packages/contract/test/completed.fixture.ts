/** What becomes of a proposal once enough owners have signed: the path every machine takes, in one function. */
import {
  checkProposal,
  extendProof,
  mergeProposals,
  proposalOwners,
  requireQuorum,
  sealedContract,
  type Genesis,
  type Proposal,
  type ProvenVersion,
  type SignedHead,
} from '@moat/contract';

/** The versions it makes, oldest first: itself and, where it is sealed, the empty one after it. */
export function completeProposal(
  current: ProvenVersion | null,
  genesis: Genesis,
  shown: Proposal,
): [ProvenVersion, ...ProvenVersion[]] {
  const base = current && { ...current, head: current.proof.newest.head };
  checkProposal(base, genesis, shown);
  const { contract, head, signatures, seal, merged } = mergeProposals(shown, shown, base);
  const { before, next, common = next, other = next } = proposalOwners(shown, base);
  requireQuorum(head, signatures, before, next, common, other);
  const signed: SignedHead = { head, signatures };
  const proof = extendProof(base?.proof ?? null, genesis, signed, next, merged);
  if (seal === undefined) return [{ contract, proof }];
  requireQuorum(seal.head, seal.signatures, next);
  return [
    { contract, proof },
    { contract: sealedContract(contract), proof: extendProof(proof, genesis, seal, next) },
  ];
}
