/**
 * A proposal as a file, for owners without a common network: what is proposed, with the version before it so that
 * its reader sees what changes. The hashes in the proposal vouch for that version.
 */
import {
  contractMatchesHead,
  headHash,
  parseContract,
  parseHeadProof,
  parseProposal,
  verifyProof,
  type Contract,
  type HeadProof,
  type Proposal,
} from '@moat/contract';
import { MoatError } from '@moat/core';
import type { LoadedDeployment } from './select.ts';

const TYPE = 'moat/proposal-file/1';

/** The version that a proposal follows, with its proof. */
export interface Before {
  readonly contract: Contract;
  readonly proof: HeadProof;
}

export interface ProposalFile {
  readonly proposal: Proposal;
  /** Null in a file that holds nothing but the proposal. */
  readonly before: Before | null;
}

export function beforeOf({ contract, proof }: LoadedDeployment): Before {
  return { contract, proof };
}

/** JSON with a last newline. */
export function writeProposalFile({ proposal, before }: ProposalFile): string {
  return `${JSON.stringify(before === null ? proposal : { type: TYPE, proposal, before })}\n`;
}

/** Takes a bare proposal too. @throws `PROPOSAL_INVALID` and what a contract or a head is refused with. */
export function parseProposalFile(text: string): ProposalFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid('it is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null) throw invalid('it is no object');
  const file = value as Record<string, unknown>;
  if (file['type'] !== TYPE) return { proposal: parseProposal(value), before: null };
  const proposal = parseProposal(file['proposal']);
  const { contract, proof } = (file['before'] ?? {}) as Record<string, unknown>;
  const before = { contract: parseContract(contract), proof: parseHeadProof(proof) };
  const { head } = before.proof.newest;
  if (headHash(head) !== proposal.head.previous) throw invalid('the version it shows as the one before is another');
  verifyProof(before.proof);
  contractMatchesHead(before.contract, head);
  return { proposal, before };
}

function invalid(reason: string, cause?: unknown): MoatError {
  return new MoatError('PROPOSAL_INVALID', 'this is no proposal', {
    cause,
    reason,
    next: ['moat apply --out FILE   writes one', 'moat proposals         lists those at the keepers'],
  });
}
