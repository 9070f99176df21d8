/**
 * The edge: JSON from outside becomes a typed value once, or a coded error. Each function takes JSON text,
 * its UTF-8 bytes, or a value that was parsed already; 1 MiB is the most any of them reads.
 */
import type {
  ClaimDetails,
  Contract,
  Genesis,
  HeadProof,
  MemberClaim,
  PublicationBundle,
  SignedClaim,
  SignedHead,
  WitnessedClaim,
} from '../schema.ts';

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseContract(input: unknown): Contract {
  throw new Error(typeof input);
}

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseGenesis(input: unknown): Genesis {
  throw new Error(typeof input);
}

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseHeadProof(input: unknown): HeadProof {
  throw new Error(typeof input);
}

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedHead(input: unknown): SignedHead {
  throw new Error(typeof input);
}

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parsePublicationBundle(input: unknown): PublicationBundle {
  throw new Error(typeof input);
}

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseMemberClaim(input: unknown): MemberClaim {
  throw new Error(typeof input);
}

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseWitnessedClaim(input: unknown): WitnessedClaim {
  throw new Error(typeof input);
}

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseSignedClaim(input: unknown): SignedClaim {
  throw new Error(typeof input);
}

/** @throws `CONTRACT_INVALID`, `CONTRACT_TOO_NEW` */
export function parseClaimDetails(input: unknown): ClaimDetails {
  throw new Error(typeof input);
}
