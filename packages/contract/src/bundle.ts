/** Publication bundles: what a member shows a gateway, and what the gateway believes of it. */
import type { DeploymentId, PeerId } from '@moat/core';
import type {
  Contract,
  Head,
  HeadProof,
  MemberClaim,
  Publication,
  PublicationBundle,
  SignedHead,
  WitnessedClaim,
} from './schema.ts';

/** The bundle for one gateway: its publications and, without details, the claims on places they list. */
export function bundleFor(
  proof: HeadProof,
  contract: Contract,
  claims: readonly MemberClaim[],
  gateway: PeerId,
): PublicationBundle {
  throw new Error(proof.genesis.nonce + contract.name + claims.length + gateway);
}

export interface BundleRules {
  /** The gateway's own PeerId. */
  readonly gateway: PeerId;
  /** The authenticated PeerId of whoever shows the bundle. */
  readonly presenter: PeerId;
  /** The newest head this gateway has accepted of the deployment; null when it is new here. */
  readonly pinned: SignedHead | null;
  /** Verified claims of this deployment from earlier bundles, so that a place claimed twice is nobody's. */
  readonly known?: readonly WitnessedClaim[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface VerifiedBundle {
  readonly deployment: DeploymentId;
  readonly head: SignedHead;
  readonly publications: readonly Publication[];
  /** Those of `publications` that list a place the presenter holds: it is their upstream. */
  readonly serves: readonly Publication[];
  /** The verified claims on listed places, to keep and pass as `known`. */
  readonly claims: readonly WitnessedClaim[];
}

/**
 * Everything a gateway checks before it serves a name for somebody.
 * @throws `HEAD_FORGED`, `QUORUM_MISSING`, `GENESIS_MISMATCH`, `VERSION_OLD`, `HEAD_FORKED`,
 * `PUBLICATION_FORGED`, `PUBLICATION_WITHDRAWN`, `PUBLICATION_ELSEWHERE`, `CLAIM_FORGED`, `WITNESS_INVALID`,
 * `PUBLISHER_UNKNOWN`
 */
export function verifyBundle(bundle: PublicationBundle, rules: BundleRules): VerifiedBundle {
  throw new Error(bundle.proof.genesis.nonce + rules.gateway);
}

/** Of the publications a gateway serves, those the newest head still signs; the others are withdrawn. */
export function stillPublished(head: Head, served: readonly Publication[]): Publication[] {
  throw new Error(head.deployment + served.length);
}

/** True when the peer holds a place the publication lists, by pin or by one of these verified claims. */
export function mayServe(publication: Publication, peer: PeerId, claims: readonly WitnessedClaim[]): boolean {
  throw new Error(publication.name + peer + claims.length);
}
