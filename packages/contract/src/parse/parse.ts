/**
 * The edge: JSON from outside becomes a typed value once, or a coded error. Each function takes JSON text,
 * its UTF-8 bytes, or a value as JSON.parse makes it; 1 MiB is the most any of them reads.
 */
import { contractBytes } from '../contract-bytes.ts';
import { withMembersOf } from '../contract-delta.ts';
import type { SignedEntry } from '../directory-entry.ts';
import type {
  ClaimDetails,
  Contract,
  Genesis,
  HeadProof,
  MemberClaim,
  Proposal,
  PublicationBundle,
  SignedClaim,
  SignedGatewayPeers,
  SignedHead,
  SignedOwnerProof,
  SignedReceipt,
  SignedSignIn,
  WitnessedClaim,
} from '../schema.ts';
import { claimDetailsSchema, memberClaimSchema, signedClaimSchema, witnessedClaimSchema } from './claim.ts';
import { contractSchema } from './contract.ts';
import { signedEntrySchema } from './directory.ts';
import { gatewayPeerListsSchema, signedGatewayPeersSchema } from './gateway-peers.ts';
import { genesisSchema, headProofSchema, signedHeadSchema } from './head.ts';
import { signedOwnerProofSchema } from './owner-proof.ts';
import { proposalSchema } from './proposal.ts';
import { publicationBundleSchema } from './publication.ts';
import { signedReceiptSchema } from './receipt.ts';
import { signedSignInSchema } from './sign-in.ts';
import { parseStrict } from './strict.ts';

/**
 * A contract, its shape alone: `checkContract` holds it to the rules across fields.
 * @param base what a delta (`contractDelta`) was made against; what is given whole takes nothing of it.
 * @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW`
 */
export function parseContract(input: unknown, base?: Contract): Contract {
  return parseStrict(contractSchema, 'contract', input, {
    bytesOf: contractBytes,
    ...(base === undefined ? {} : { complete: (value) => withMembersOf(base, value) }),
  });
}

/** The beginning of a deployment. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseGenesis(input: unknown): Genesis {
  return parseStrict(genesisSchema, 'genesis', input);
}

/** A proof; `verifyProof` believes it or not. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseHeadProof(input: unknown): HeadProof {
  return parseStrict(headProofSchema, 'proof', input);
}

/** A head and the signatures on it. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedHead(input: unknown): SignedHead {
  return parseStrict(signedHeadSchema, 'head', input);
}

/** What a member shows a gateway; `verifyBundle` believes it or not. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parsePublicationBundle(input: unknown): PublicationBundle {
  return parseStrict(publicationBundleSchema, 'publication bundle', input);
}

/** A witnessed claim with its details, as members hold it. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseMemberClaim(input: unknown): MemberClaim {
  return parseStrict(memberClaimSchema, 'claim', input);
}

/** A witnessed claim as gateways see it. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseWitnessedClaim(input: unknown): WitnessedClaim {
  return parseStrict(witnessedClaimSchema, 'claim', input);
}

/** A claim before its witness. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedClaim(input: unknown): SignedClaim {
  return parseStrict(signedClaimSchema, 'claim', input);
}

/** A signature; `verifySignIn` believes it or not. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedSignIn(input: unknown): SignedSignIn {
  return parseStrict(signedSignInSchema, 'sign-in', input);
}

/** What a claim keeps from gateways. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseClaimDetails(input: unknown): ClaimDetails {
  return parseStrict(claimDetailsSchema, "claim's details", input);
}

/** A proposal; `checkProposal` holds it to the current version. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseProposal(input: unknown): Proposal {
  return parseStrict(proposalSchema, 'proposal', input);
}

/** An owner's proof; `verifyOwnerProof` believes it or not. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedOwnerProof(input: unknown): SignedOwnerProof {
  return parseStrict(signedOwnerProofSchema, "owner's proof", input);
}

/** A receipt; `verifyReceipt` believes it or not. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedReceipt(input: unknown): SignedReceipt {
  return parseStrict(signedReceiptSchema, 'receipt', input);
}

/** One list of a gateway's machines; `followGatewayPeers` believes it or not. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedGatewayPeers(input: unknown): SignedGatewayPeers {
  return parseStrict(signedGatewayPeersSchema, "list of a gateway's machines", input);
}

/** All lists of one gateway, at most 64. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseGatewayPeerLists(input: unknown): SignedGatewayPeers[] {
  return parseStrict(gatewayPeerListsSchema, "lists of a gateway's machines", input);
}

/** An entry of the directory; `verifyEntry` believes it or not. @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedEntry(input: unknown): SignedEntry {
  return parseStrict(signedEntrySchema, 'directory entry', input);
}
