/** What the agent says about one deployment it holds. Times are RFC 3339, durations milliseconds. */
import { z } from 'zod';
import {
  documentSchema,
  localAddressSchema,
  noticeSchema,
  type Document,
  type LocalAddress,
  type Notice,
} from './answer.ts';
import { planePathSchema, type PlanePath } from './plane-path.ts';

/** A member's place and how this machine reaches it now. */
export interface PlaceStatus {
  readonly name: string;
  readonly tags: readonly string[];
  readonly ipv4: string;
  readonly keeper: boolean;
  readonly peer: string | null;
  readonly state: 'pinned' | 'claimed' | 'invited' | 'vacant' | 'frozen' | 'expired' | 'device';
  /** True for the place this machine holds. */
  readonly self: boolean;
  readonly connected: boolean;
  /** The way of the open link, else of the control connection. */
  readonly path: 'direct' | 'spliced' | 'relayed' | null;
  /** Why the path is what it is; null for this machine and for places nobody holds. */
  readonly pathReason: string | null;
  /** How WireGuard packets go; absent where no interface leads there. */
  readonly plane?: PlanePath | undefined;
  readonly rttMs: number | null;
}
const placeStatusSchema: z.ZodType<PlaceStatus> = z
  .object({
    name: z.string(),
    tags: z.array(z.string()),
    ipv4: z.string(),
    keeper: z.boolean(),
    peer: z.string().nullable(),
    state: z.enum(['pinned', 'claimed', 'invited', 'vacant', 'frozen', 'expired', 'device']),
    self: z.boolean(),
    connected: z.boolean(),
    path: z.enum(['direct', 'spliced', 'relayed']).nullable(),
    pathReason: z.string().nullable(),
    plane: planePathSchema.optional(),
    rttMs: z.number().nullable(),
  })
  .meta({ id: 'PlaceStatus' });

/** A service of the contract as seen from this machine. */
export interface ServiceStatus {
  readonly name: string;
  /** `<service>.<network>.internal`. */
  readonly host: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'http' | 'grpc' | 'udp';
  readonly target: string;
  /** Names of members that offer it now. */
  readonly on: readonly string[];
  /** True when this machine's member may reach it. */
  readonly granted: boolean;
  /** The loopback listener that leads there; null without a grant. */
  readonly local: LocalAddress | null;
  readonly instances: number;
  /** Of them, those whose machine is connected now, this one included. */
  readonly connected: number;
  /** Of them, those that did not fail lately; one that was never asked counts. */
  readonly healthy: number;
  /** Whether the operator exposed its target here; null when this machine does not offer it. */
  readonly exposed: boolean | null;
}
const serviceStatusSchema: z.ZodType<ServiceStatus> = z
  .object({
    name: z.string(),
    host: z.string(),
    port: z.number().int(),
    protocol: z.enum(['tcp', 'http', 'grpc', 'udp']),
    target: z.string(),
    on: z.array(z.string()),
    granted: z.boolean(),
    local: localAddressSchema.nullable(),
    instances: z.number().int(),
    connected: z.number().int(),
    healthy: z.number().int(),
    exposed: z.boolean().nullable(),
  })
  .meta({ id: 'ServiceStatus' });

/** A certificate as the gateway tells of it to those who serve its name. Times are RFC 3339. */
export interface PublicationCertificate {
  /** `ordering` and `waiting` (for the next try): there is none yet. */
  readonly state: 'valid' | 'expired' | 'ordering' | 'waiting';
  readonly issuer: string | null;
  readonly notAfter: string | null;
  /** When it is renewed, or obtained, or tried again. */
  readonly next: string | null;
  readonly problem: Notice | null;
}

/** One published name at one gateway, as this machine keeps it up. */
export interface PublicationStatus {
  readonly deployment: string;
  readonly name: string;
  readonly service: string;
  readonly gateway: string;
  readonly peer: string;
  /** `live`: the gateway accepted it and a link is up. `waiting`: this machine does not offer the service. */
  readonly state: 'connecting' | 'live' | 'refused' | 'unreachable' | 'waiting';
  readonly host: string | null;
  readonly url: string | null;
  /** Version of the bundle that the gateway answered last. */
  readonly version: number | null;
  readonly error: Notice | null;
  /** What the gateway says of the certificate that the name is served with; absent where it was not asked or says nothing. */
  readonly certificate?: PublicationCertificate | undefined;
  readonly since: string;
}
export const publicationStatusSchema: z.ZodType<PublicationStatus> = z
  .object({
    deployment: z.string(),
    name: z.string(),
    service: z.string(),
    gateway: z.string(),
    peer: z.string(),
    state: z.enum(['connecting', 'live', 'refused', 'unreachable', 'waiting']),
    host: z.string().nullable(),
    url: z.string().nullable(),
    version: z.number().int().nullable(),
    error: noticeSchema.nullable(),
    certificate: z
      .object({
        state: z.enum(['valid', 'expired', 'ordering', 'waiting']),
        issuer: z.string().nullable(),
        notAfter: z.string().nullable(),
        next: z.string().nullable(),
        problem: noticeSchema.nullable(),
      })
      .optional(),
    since: z.string(),
  })
  .meta({ id: 'PublicationStatus' });

/** What this node did with a version. */
export interface ReceiptStatus {
  readonly version: number;
  readonly head: string;
  readonly result: 'applied' | 'failed' | 'refused';
  readonly code: string | null;
  readonly message: string | null;
  readonly time: string;
}
const receiptStatusSchema: z.ZodType<ReceiptStatus> = z
  .object({
    version: z.number().int(),
    head: z.string(),
    result: z.enum(['applied', 'failed', 'refused']),
    code: z.string().nullable(),
    message: z.string().nullable(),
    time: z.string(),
  })
  .meta({ id: 'ReceiptStatus' });

/** What a member's machine says it did with a version, signed by it. */
export interface MemberReceipt {
  /** The place that machine holds. */
  readonly member: string;
  readonly peer: string;
  readonly version: number;
  readonly head: string;
  readonly result: 'applied' | 'failed';
  readonly code: string | null;
  /** By that machine's clock. */
  readonly time: string;
}
const memberReceiptSchema: z.ZodType<MemberReceipt> = z
  .object({
    member: z.string(),
    peer: z.string(),
    version: z.number().int(),
    head: z.string(),
    result: z.enum(['applied', 'failed']),
    code: z.string().nullable(),
    time: z.string(),
  })
  .meta({ id: 'MemberReceipt' });

/** How long ago a keeper last confirmed the version in force. */
export interface FreshnessStatus {
  /** 0 where this machine is the only keeper. */
  readonly ageMs: number;
  /** The contract's `network.maxStale`; null = the network goes on with what it knows. */
  readonly maxStaleMs: number | null;
  /** `aging` from half of it on; past it `stale`: nothing is opened and nothing runs. */
  readonly state: 'fresh' | 'aging' | 'stale';
}
const freshnessStatusSchema: z.ZodType<FreshnessStatus> = z
  .object({ ageMs: z.number(), maxStaleMs: z.number().nullable(), state: z.enum(['fresh', 'aging', 'stale']) })
  .meta({ id: 'FreshnessStatus' });

/** The short form of a deployment. */
export interface DeploymentSummary {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly head: string;
  readonly state: 'active' | 'ended' | 'forked';
  /** The place of this machine; null when it holds the contract without one. */
  readonly member: string | null;
  /** True where the version in force pins this machine as a keeper: what others prove to a keeper is not needed here. */
  readonly keeper: boolean;
  /** When this version was accepted here. */
  readonly acceptedAt: string;
  readonly freshness: FreshnessStatus;
  readonly alarms: readonly Notice[];
}
const summaryShape = {
  id: z.string(),
  name: z.string(),
  version: z.number().int(),
  head: z.string(),
  state: z.enum(['active', 'ended', 'forked']),
  member: z.string().nullable(),
  keeper: z.boolean(),
  acceptedAt: z.string(),
  freshness: freshnessStatusSchema,
  alarms: z.array(noticeSchema),
};
export const deploymentSummarySchema: z.ZodType<DeploymentSummary> = z
  .object(summaryShape)
  .meta({ id: 'DeploymentSummary' });

/** What this machine holds of a deployment: enough to plan and sign its next version. Nobody else is asked for it. */
export interface DeploymentHeld extends DeploymentSummary {
  /** `Contract` of `@moat/contract`. */
  readonly contract: Document;
  /** `HeadProof` of `@moat/contract`. */
  readonly proof: Document;
  /** `MemberClaim[]` of `@moat/contract`. */
  readonly claims: readonly Document[];
}
const heldShape = { ...summaryShape, contract: documentSchema, proof: documentSchema, claims: z.array(documentSchema) };
export const deploymentHeldSchema: z.ZodType<DeploymentHeld> = z.object(heldShape).meta({ id: 'DeploymentHeld' });

/** Everything about one deployment, with how its members are reached and what they did. */
export interface DeploymentDetail extends DeploymentHeld {
  readonly places: readonly PlaceStatus[];
  readonly services: readonly ServiceStatus[];
  readonly publications: readonly PublicationStatus[];
  /** Newest first, at most 20. */
  readonly receipts: readonly ReceiptStatus[];
  /** The newest of each member's machine that is known here, in the order of members. */
  readonly memberReceipts: readonly MemberReceipt[];
  /** Multiaddrs with `/p2p/` of pinned keepers as known here, for tokens. */
  readonly keepers: readonly string[];
  /** Multiaddrs with `/p2p/` of the contract's anchors. */
  readonly anchors: readonly string[];
}
export const deploymentDetailSchema: z.ZodType<DeploymentDetail> = z
  .object({
    ...heldShape,
    places: z.array(placeStatusSchema),
    services: z.array(serviceStatusSchema),
    publications: z.array(publicationStatusSchema),
    receipts: z.array(receiptStatusSchema),
    memberReceipts: z.array(memberReceiptSchema),
    keepers: z.array(z.string()),
    anchors: z.array(z.string()),
  })
  .meta({ id: 'DeploymentDetail' });

/** One stored version: what it said and what was signed. */
export interface StoredVersion {
  readonly version: number;
  readonly contract: Document;
  /** `SignedHead` of `@moat/contract`. */
  readonly signed: Document;
  readonly acceptedAt: string;
}
export const storedVersionSchema: z.ZodType<StoredVersion> = z
  .object({ version: z.number().int(), contract: documentSchema, signed: documentSchema, acceptedAt: z.string() })
  .meta({ id: 'StoredVersion' });

/** A new deployment: version 0 with its genesis. */
export interface CreateDeploymentRequest {
  readonly genesis: Document;
  readonly contract: Document;
  readonly signed: Document;
}
export const createDeploymentRequestSchema: z.ZodType<CreateDeploymentRequest> = z
  .strictObject({ genesis: documentSchema, contract: documentSchema, signed: documentSchema })
  .meta({ id: 'CreateDeploymentRequest' });

/** The next version of a deployment, signed by a quorum. */
export interface SubmitVersionRequest {
  readonly contract: Document;
  readonly signed: Document;
  /** Where it changes the owners: `SignedHead` of the empty version after it, taken along with it. */
  readonly seal?: Document | undefined;
  /** Take it here although no keeper is in reach: whoever else applies meanwhile makes a fork. */
  readonly offline?: boolean | undefined;
}
export const submitVersionRequestSchema: z.ZodType<SubmitVersionRequest> = z
  .strictObject({
    contract: documentSchema,
    signed: documentSchema,
    seal: documentSchema.optional(),
    offline: z.boolean().optional(),
  })
  .meta({ id: 'SubmitVersionRequest' });

/** A version is on disk and in force on this node. */
export interface VersionAccepted {
  readonly deployment: string;
  readonly name: string;
  readonly version: number;
  readonly head: string;
  /** False when this very version was there before. */
  readonly changed: boolean;
  /** PeerId of the keeper that took it first; null where this machine did. */
  readonly keeper: string | null;
}
export const versionAcceptedSchema: z.ZodType<VersionAccepted> = z
  .object({
    deployment: z.string(),
    name: z.string(),
    version: z.number().int(),
    head: z.string(),
    changed: z.boolean(),
    keeper: z.string().nullable(),
  })
  .meta({ id: 'VersionAccepted' });
