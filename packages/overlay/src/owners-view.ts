/** The port by which the overlay asks a keeper's agent about owners, proposals and receipts. */
import { MoatError, type DeploymentId, type Hash, type OwnerKey, type PeerId } from '@moat/core';
import type { HeadProof, MemberClaim, Proposal, SignedOwnerProof, SignedReceipt } from '@moat/contract';

/** A deployment as a keeper shows it to an owner. */
export interface Snapshot {
  readonly proof: HeadProof;
  /** Canonical bytes of the newest contract. */
  readonly contract: Uint8Array;
  readonly claims: readonly MemberClaim[];
  /** Multiaddrs with `/p2p/` of the pinned keepers, as known to the one that answers. */
  readonly keepers: readonly string[];
}

/** How far a proposal has come, as a keeper counts it. */
export interface ProposalReport {
  readonly id: Hash;
  readonly version: number;
  readonly previous: Hash;
  readonly state: 'open' | 'met' | 'stale';
  readonly signers: readonly OwnerKey[];
  readonly missing: readonly OwnerKey[];
  readonly weight: number;
  readonly threshold: number;
  readonly newOwners: { readonly met: boolean; readonly weight: number; readonly threshold: number } | null;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
}

/** A version on its way to a keeper: its proof, and the contract that belongs to it. */
export interface ShownVersion {
  readonly proof: HeadProof;
  /** Canonical bytes. */
  readonly contract: Uint8Array;
}

/** A keeper's answer to a version: who took it first, or the newest proof that stands against it. */
export type TakeAnswer =
  { readonly taken: true; readonly keeper: PeerId } | { readonly taken: false; readonly proof: HeadProof };

/** What became of a proposal that was left at a keeper. */
export interface PutOutcome {
  readonly report: ProposalReport;
  /** False when the keeper had all of it before. */
  readonly changed: boolean;
  /** True when it was the last signature needed and the version is in force at the keeper. */
  readonly applied: boolean;
}

/** The same as its owner hears of it: with what is in force now, since the key that asked may be no owner's any more. */
export interface PutAnswer extends PutOutcome {
  readonly snapshot?: Snapshot;
}

/** Every method may reject with a coded error, which reaches the other side as it is. */
export interface OwnersView {
  /** The owner who signed, or null for anything else: the other side learns nothing more. Never rejects. */
  proveOwner(signed: SignedOwnerProof, from: PeerId): Promise<OwnerKey | null>;
  /** True while the version in force lists this key as an owner. */
  isOwner(deployment: DeploymentId, owner: OwnerKey): boolean;
  /** True for another machine that the version in force pins as a keeper, where this one is a pinned keeper too. */
  isFellowKeeper(deployment: DeploymentId, peer: PeerId): boolean;
  /** True for another machine that the version in force pins as a keeper. */
  isKeeper(deployment: DeploymentId, peer: PeerId): boolean;
  /** True where this machine is a pinned keeper. */
  keeps(deployment: DeploymentId): boolean;
  snapshot(deployment: DeploymentId): Snapshot;
  proposals(deployment: DeploymentId): readonly ProposalReport[];
  /** @throws `PROPOSAL_UNKNOWN` */
  proposal(deployment: DeploymentId, id: Hash): { readonly report: ProposalReport; readonly proposal: Proposal };
  put(deployment: DeploymentId, proposal: Proposal, from: PeerId, signal: AbortSignal): Promise<PutOutcome>;
  take(deployment: DeploymentId, version: ShownVersion, from: PeerId, signal: AbortSignal): Promise<TakeAnswer>;
  /** True = it was new; keepers pass it on to each other. Never throws for hostile input. */
  acceptReceipt(from: PeerId, receipt: SignedReceipt): boolean;
  /** The newest of each member that is known here. */
  receipts(deployment: DeploymentId): readonly SignedReceipt[];
}

/** The view of a machine that keeps nothing: a gateway, a bare anchor. */
export const noOwners: OwnersView = {
  proveOwner: () => Promise.resolve(null),
  isOwner: () => false,
  isFellowKeeper: () => false,
  isKeeper: () => false,
  keeps: () => false,
  snapshot: () => refuse(),
  proposals: () => refuse(),
  proposal: () => refuse(),
  put: () => refuse(),
  take: () => refuse(),
  acceptReceipt: () => false,
  receipts: () => [],
};

function refuse(): never {
  throw new MoatError('PROPOSALS_REFUSED', 'this machine keeps no deployment');
}
