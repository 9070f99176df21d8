/** Owners at work: sessions of owners who are no members here, and proposals that wait at keepers. */
import { z } from 'zod';
import { documentSchema, type Document } from './answer.ts';
import { versionAcceptedSchema, type VersionAccepted } from './deployment.ts';

/** Asks for something to sign: the agent dials a keeper and waits on that connection. */
export interface OwnerChallengeRequest {
  /** Id or name of a deployment that is held here. */
  readonly deployment?: string | undefined;
  /** Text of a locator (`moat invite --locator`), for a deployment that is not held here yet. */
  readonly locator?: string | undefined;
}
export const ownerChallengeRequestSchema: z.ZodType<OwnerChallengeRequest> = z
  .strictObject({ deployment: z.string().min(1).optional(), locator: z.string().min(1).max(65_536).optional() })
  .meta({ id: 'OwnerChallengeRequest' });

/** What an owner signs, as `OwnerProof` of `@moat/contract` with the owner's key added. */
export interface OwnerChallenge {
  /** Null when this machine keeps the deployment itself: no session is needed. */
  readonly challenge: string | null;
  readonly deployment: string;
  /** PeerId of this machine. */
  readonly dialer: string;
  /** PeerId of the keeper at the other end; null with `challenge`. */
  readonly keeper: string | null;
  /** To sign as it is. */
  readonly time: string;
  /** Until when the signed proof is awaited. */
  readonly expires: string;
}
export const ownerChallengeSchema: z.ZodType<OwnerChallenge> = z
  .object({
    challenge: z.string().nullable(),
    deployment: z.string(),
    dialer: z.string(),
    keeper: z.string().nullable(),
    time: z.string(),
    expires: z.string(),
  })
  .meta({ id: 'OwnerChallenge' });

/** The answer to a challenge. */
export interface OwnerSessionRequest {
  readonly challenge: string;
  /** `SignedOwnerProof` of `@moat/contract`. */
  readonly signed: Document;
}
export const ownerSessionRequestSchema: z.ZodType<OwnerSessionRequest> = z
  .strictObject({ challenge: z.string().min(1).max(64), signed: documentSchema })
  .meta({ id: 'OwnerSessionRequest' });

/**
 * The keeper admitted this machine for an owner. The deployment is held here from now on, also without a place;
 * requests about its proposals and versions go over this session while it is open.
 */
export interface OwnerSession {
  readonly session: string;
  readonly deployment: string;
  readonly name: string;
  readonly version: number;
  /** PeerId of the keeper. */
  readonly keeper: string;
  /** When it ends unless it is used before. */
  readonly expires: string;
}
export const ownerSessionSchema: z.ZodType<OwnerSession> = z
  .object({
    session: z.string(),
    deployment: z.string(),
    name: z.string(),
    version: z.number().int(),
    keeper: z.string(),
    expires: z.string(),
  })
  .meta({ id: 'OwnerSession' });

/** How far a proposal has come among the owners that have to agree. */
export interface ProposalStatus {
  /** Hash of its head. */
  readonly id: string;
  readonly version: number;
  /** Hash of the head it follows. */
  readonly previous: string;
  /** `open`: signatures are missing. `met`: signed by all it takes, not in force yet. `stale`: another version came first. */
  readonly state: 'open' | 'met' | 'stale';
  /** Owner keys that signed. */
  readonly signers: readonly string[];
  /** Owner keys in force that did not. */
  readonly missing: readonly string[];
  readonly weight: number;
  readonly threshold: number;
  /** Where it changes the owners: the weight of the new ones that signed. */
  readonly newOwners: { readonly met: boolean; readonly weight: number; readonly threshold: number } | null;
  /** Bytes of the whole proposal. */
  readonly bytes: number;
  /** When the keeper first saw it. */
  readonly receivedAt: string;
}
const proposalShape = {
  id: z.string(),
  version: z.number().int(),
  previous: z.string(),
  state: z.enum(['open', 'met', 'stale']),
  signers: z.array(z.string()),
  missing: z.array(z.string()),
  weight: z.number(),
  threshold: z.number(),
  newOwners: z.object({ met: z.boolean(), weight: z.number(), threshold: z.number() }).nullable(),
  bytes: z.number().int(),
  receivedAt: z.string(),
};
const proposalStatusSchema: z.ZodType<ProposalStatus> = z.object(proposalShape).meta({ id: 'ProposalStatus' });

/** Everything that waits at one keeper. */
export interface ProposalList {
  /** PeerId of the keeper that was asked; this machine's own where it keeps the deployment. */
  readonly keeper: string;
  readonly proposals: readonly ProposalStatus[];
}
export const proposalListSchema: z.ZodType<ProposalList> = z
  .object({ keeper: z.string(), proposals: z.array(proposalStatusSchema) })
  .meta({ id: 'ProposalList' });

/** One proposal, whole. */
export interface ProposalDetail extends ProposalStatus {
  /** `Proposal` of `@moat/contract`. */
  readonly proposal: Document;
}
export const proposalDetailSchema: z.ZodType<ProposalDetail> = z
  .object({ ...proposalShape, proposal: documentSchema })
  .meta({ id: 'ProposalDetail' });

/** A new proposal, or one that is known with further signatures. */
export interface PutProposalRequest {
  /** `Proposal` of `@moat/contract`, with at least one signature of an owner. */
  readonly proposal: Document;
}
export const putProposalRequestSchema: z.ZodType<PutProposalRequest> = z
  .strictObject({ proposal: documentSchema })
  .meta({ id: 'PutProposalRequest' });

/** What came of it: it waits, or it was the last signature that was needed. */
export interface ProposalPut {
  readonly proposal: ProposalStatus;
  /** False when the keeper had all of it before. */
  readonly changed: boolean;
  /** The version it became; null while signatures are missing. */
  readonly applied: VersionAccepted | null;
}
export const proposalPutSchema: z.ZodType<ProposalPut> = z
  .object({ proposal: proposalStatusSchema, changed: z.boolean(), applied: versionAcceptedSchema.nullable() })
  .meta({ id: 'ProposalPut' });
