/**
 * The port by which the overlay asks the agent (or the gateway) about deployments. The overlay moves
 * heads, claims and contracts and decides who may hear of them; what they mean is decided behind this port.
 */
import type { DeploymentId, Hash, PeerId } from '@moat/core';
import type { ClaimDetails, HeadProof, MemberClaim, SignedClaim } from '@moat/contract';

/**
 * What `acceptProof` made of a proof; `forked` = it tells of a branch beside ours more than was known,
 * `refused` = forged, a branch that is known, or nothing we know.
 */
export type ProofOutcome = 'same' | 'older' | 'accepted' | 'forked' | 'refused';

/** What a machine sends a keeper to take its place. */
export interface JoinRequest {
  readonly signed: SignedClaim;
  readonly details: ClaimDetails;
}

/** All a machine needs to take part, or why not. */
export type JoinAnswer =
  | {
      readonly ok: true;
      readonly claim: MemberClaim;
      readonly proof: HeadProof;
      /** Canonical bytes of the newest contract. */
      readonly contract: Uint8Array;
      /** Every witnessed claim the keeper holds. */
      readonly claims: readonly MemberClaim[];
    }
  | {
      readonly ok: false;
      /** `JOIN_REFUSED`, `INVITE_USED`, `INVITE_EXPIRED`, … */
      readonly code: string;
      readonly message: string;
    };

/** One place's machine, as far as the overlay cares. */
export interface DeploymentPeer {
  readonly peer: PeerId;
  readonly keeper: boolean;
}

/** A version by what names it. */
export interface HeadName {
  readonly version: number;
  readonly head: Hash;
}

/**
 * Fetches the contract of a proof from the peer that showed it: canonical bytes, or, where the peer holds `since` too,
 * what makes it of that one. They still have to match the head. @throws `MESSAGE_INVALID` when the peer has none, and
 * what a stream throws
 */
export type Pull = (since?: HeadName) => Promise<Uint8Array>;

export interface DeploymentView {
  /** Deployments this machine takes part in. */
  deployments(): readonly DeploymentId[];
  /** Deployments whose members or witnessed claims list this PeerId; nobody else hears of them. */
  sharedWith(peer: PeerId): readonly DeploymentId[];
  /** The newest proof; undefined for a deployment we do not know. */
  proof(deployment: DeploymentId): HeadProof | undefined;
  /** True while a locator waits for this deployment: its proof is welcome although nothing is held yet. */
  expects?(deployment: DeploymentId): boolean;
  /** The claim by which this machine holds its place, if no version pins it. */
  ownClaim(deployment: DeploymentId): MemberClaim | undefined;
  claims(deployment: DeploymentId): readonly MemberClaim[];
  /** Branches beside ours that are known with their contracts. Few: each is passed on to every member. */
  forks?(deployment: DeploymentId): readonly HeadProof[];
  /** Canonical bytes of that version, if it is held; of the branch with this head, where one is named. */
  contract(deployment: DeploymentId, version: number, head?: Hash): Uint8Array | undefined;
  /** What makes the contract in force, `head`, of an earlier one; undefined unless both are held. */
  delta?(deployment: DeploymentId, head: Hash, since: HeadName): Uint8Array | undefined;
  /**
   * Verifies, pulls the contract where the proof is newer, persists and applies. Never rejects for hostile
   * input. May run for several peers at once for one deployment, so it compares with the pin again after `pull`.
   */
  acceptProof(from: PeerId, proof: HeadProof, pull: Pull): Promise<ProofOutcome>;
  /** The peer says on its own connection that this is its newest head. */
  headShown?(from: PeerId, deployment: DeploymentId, head: Hash): void;
  /** The peer says on its own connection that it shares no such deployment with us. */
  notNamed?(from: PeerId, deployment: DeploymentId): void;
  /** Verifies and persists claims that were shown at once; the new ones. Never rejects for hostile input. */
  acceptClaims(from: PeerId, deployment: DeploymentId, claims: readonly MemberClaim[]): Promise<readonly MemberClaim[]>;
  /** The keeper's side of joining; a rejection reaches the other side as `JOIN_REFUSED`. */
  witness(request: JoinRequest, from: PeerId): Promise<JoinAnswer>;
  /** Everyone in the deployment, this machine included. */
  members(deployment: DeploymentId): readonly DeploymentPeer[];
  /** The contract's anchors: multiaddrs with `/p2p/<PeerId>`. */
  anchors(deployment: DeploymentId): readonly string[];
}

/** The view of a machine in no deployment: a gateway, a bare anchor. */
export const noDeployments: DeploymentView = {
  deployments: () => [],
  sharedWith: () => [],
  proof: () => undefined,
  ownClaim: () => undefined,
  claims: () => [],
  contract: () => undefined,
  acceptProof: () => Promise.resolve('refused'),
  acceptClaims: () => Promise.resolve([]),
  witness: () => Promise.resolve({ ok: false, code: 'JOIN_REFUSED', message: 'this machine keeps no deployment' }),
  members: () => [],
  anchors: () => [],
};
