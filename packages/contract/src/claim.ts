/** Claims: how a machine takes a place, and the pinned keeper's witness that makes it count. */
import type { DeploymentId, Hash, PeerId, Signer } from '@moat/core';
import type { Claim, ClaimDetails, Contract, Member, SignedClaim, WitnessedClaim } from './schema.ts';

export interface ClaimRequest {
  readonly deployment: DeploymentId;
  readonly details: ClaimDetails;
  readonly nodeSigner: Signer;
  /** Null when the place is pinned to this node already. */
  readonly inviteSigner: Signer | null;
}

export interface WitnessRules {
  /** The pinned keepers' PeerIds; nobody else may witness. */
  readonly witnesses: readonly PeerId[];
  /** The invite's `expires`; absent for a pinned place. */
  readonly inviteExpires?: string;
  /** Milliseconds since 1970; when given, a witness more than five minutes ahead of it is refused. */
  readonly now?: number;
}

/** A claim signed by the node key and, for a vacant place, the invite key. */
export function createClaim(request: ClaimRequest): SignedClaim {
  throw new Error(request.deployment);
}

/** What a witness is about. */
export function hashClaim(claim: Claim): Hash {
  throw new Error(claim.deployment);
}

/** @throws `CLAIM_FORGED` unless both signatures verify and the details, where given, are the claim's. */
export function verifyClaim(signed: SignedClaim, details?: ClaimDetails): void {
  throw new Error(signed.claim.deployment + details?.member);
}

/**
 * A keeper's countersignature. The caller has verified the claim and remembers it, once per invite key.
 * @param timeMs milliseconds since 1970, written in whole seconds.
 */
export function witnessClaim(signed: SignedClaim, timeMs: number, keeperSigner: Signer): WitnessedClaim {
  throw new Error(signed.claim.deployment + timeMs + keeperSigner.publicKey.length);
}

/**
 * Verifies a witnessed claim whole: its own signatures, its witness and the witness' time.
 * @throws `CLAIM_FORGED`, `WITNESS_INVALID`
 */
export function verifyWitnessed(witnessed: WitnessedClaim, rules: WitnessRules, details?: ClaimDetails): void {
  throw new Error(witnessed.keeper + rules.witnesses.length + details?.member);
}

/**
 * The member whose place this claim is for: the one with that invite, or the one pinned to that node, and
 * of the claimed name. Undefined when there is none. Checks no signature and no time.
 */
export function claimedMember(contract: Contract, claim: Claim, details: ClaimDetails): Member | undefined {
  throw new Error(contract.name + claim.deployment + details.member);
}
