/** What a gateway says over its own admin socket. Times are RFC 3339. */
import { z } from 'zod';
import { noticeSchema, type Notice } from './answer.ts';
import { gatewaySuspensionSchema, type GatewaySuspension } from './gateway-operator.ts';

/** A process that carries traffic. */
export interface GatewayWorker {
  readonly pid: number;
  /** `starting`: it does not accept clients yet. `leaving`: another took its place, it serves those it has. */
  readonly state: 'starting' | 'serving' | 'leaving';
  readonly links: number;
  /** Of these, how many ride the control process, as their members do not reach the link port: slow. */
  readonly pipedLinks: number;
  /** Of clients. */
  readonly connections: number;
  readonly requestsInFlight: number;
  /** Since it started. */
  readonly requestsTotal: number;
  /** How often another took its place since the gateway started. */
  readonly restarts: number;
  readonly uptimeMs: number;
  readonly rssBytes: number;
}
const gatewayWorkerSchema: z.ZodType<GatewayWorker> = z
  .object({
    pid: z.number().int(),
    state: z.enum(['starting', 'serving', 'leaving']),
    links: z.number().int(),
    pipedLinks: z.number().int(),
    connections: z.number().int(),
    requestsInFlight: z.number().int(),
    requestsTotal: z.number().int(),
    restarts: z.number().int(),
    uptimeMs: z.number(),
    rssBytes: z.number(),
  })
  .meta({ id: 'GatewayWorker' });

/** The gateway as a whole. */
export interface GatewayStatus {
  readonly peerId: string;
  readonly pid: number;
  readonly domain: string;
  readonly startedAt: string;
  readonly uptimeMs: number;
  /** Multiaddrs with `/p2p/` that members dial. */
  readonly peers: readonly string[];
  readonly httpsPort: number | null;
  readonly httpPort: number | null;
  readonly linkPort: number | null;
  /** Who may publish, as configured. */
  readonly publishers: 'invited' | 'open' | readonly string[];
  /** PEM file of the local CA; null where certificates come from elsewhere. */
  readonly caFile: string | null;
  readonly anchor: boolean;
  /** Deployments the operator allowed or denied, or let in by code. */
  readonly rules: number;
  /** Codes that somebody may still use. */
  readonly openInvites: number;
  readonly connections: number;
  readonly links: number;
  readonly names: number;
  readonly requestsInFlight: number;
  readonly requestsTotal: number;
  /** Of the requests in flight, those that became a WebSocket or the like. */
  readonly webSockets: number;
  /** Connections whose bytes the gateway does not read, in work. */
  readonly tunnels: number;
  /** It goes down and takes nothing new; at the latest it is gone then. Null while it stays. */
  readonly draining: { readonly since: string; readonly until: string } | null;
  /** Of the process that answers. */
  readonly rssBytes: number;
  /** Processes that carry traffic; empty where this one does. */
  readonly workers: readonly GatewayWorker[];
  readonly warnings: readonly Notice[];
}
export const gatewayStatusSchema: z.ZodType<GatewayStatus> = z
  .object({
    peerId: z.string(),
    pid: z.number().int(),
    domain: z.string(),
    startedAt: z.string(),
    uptimeMs: z.number(),
    peers: z.array(z.string()),
    httpsPort: z.number().int().nullable(),
    httpPort: z.number().int().nullable(),
    linkPort: z.number().int().nullable(),
    publishers: z.union([z.literal('invited'), z.literal('open'), z.array(z.string())]),
    caFile: z.string().nullable(),
    anchor: z.boolean(),
    rules: z.number().int(),
    openInvites: z.number().int(),
    connections: z.number().int(),
    links: z.number().int(),
    names: z.number().int(),
    requestsInFlight: z.number().int(),
    requestsTotal: z.number().int(),
    webSockets: z.number().int(),
    tunnels: z.number().int(),
    draining: z.object({ since: z.string(), until: z.string() }).nullable(),
    rssBytes: z.number(),
    workers: z.array(gatewayWorkerSchema),
    warnings: z.array(noticeSchema),
  })
  .meta({ id: 'GatewayStatus' });

/** A name in the gateway's registry. */
export interface GatewayName {
  readonly name: string;
  readonly host: string;
  readonly url: string;
  readonly deployment: string;
  readonly service: string;
  /** `live`: a member is connected. `idle`: leased, nobody is. `released`: withdrawn, still held for its deployment. */
  readonly state: 'live' | 'idle' | 'released';
  /** The operator took it, or all of its deployment, off the air: clients get this status. */
  readonly suspended: 451 | 410 | null;
  readonly claimedAt: string;
  /** When the name is free again if no member comes. */
  readonly heldUntil: string | null;
  /** Of a host outside the domain: what its record said. */
  readonly proof: { readonly seenAt: string; /** Since when it is gone. */ readonly goneSince: string | null } | null;
}
/** `GET /v1/names`. */
export interface GatewayNames {
  readonly names: readonly GatewayName[];
}
export const gatewayNamesSchema: z.ZodType<GatewayNames> = z
  .object({
    names: z.array(
      z
        .object({
          name: z.string(),
          host: z.string(),
          url: z.string(),
          deployment: z.string(),
          service: z.string(),
          state: z.enum(['live', 'idle', 'released']),
          suspended: z.union([z.literal(451), z.literal(410)]).nullable(),
          claimedAt: z.string(),
          heldUntil: z.string().nullable(),
          proof: z.object({ seenAt: z.string(), goneSince: z.string().nullable() }).nullable(),
        })
        .meta({ id: 'GatewayName' }),
    ),
  })
  .meta({ id: 'GatewayNames' });

/** A host in the route snapshot in force, a service that it leads to, and the members behind that. */
export interface GatewayRoute {
  readonly host: string;
  readonly deployment: string;
  readonly service: string;
  readonly kind: 'tcp' | 'http';
  readonly upstreams: readonly {
    readonly peer: string;
    readonly healthy: boolean;
    readonly path: 'direct' | 'spliced' | 'relayed' | null;
    readonly openStreams: number;
  }[];
}
/** `GET /v1/routes`. */
export interface GatewayRoutes {
  /** Counts up with each swap. */
  readonly snapshot: number;
  readonly routes: readonly GatewayRoute[];
}
export const gatewayRoutesSchema: z.ZodType<GatewayRoutes> = z
  .object({
    snapshot: z.number().int(),
    routes: z.array(
      z
        .object({
          host: z.string(),
          deployment: z.string(),
          service: z.string(),
          kind: z.enum(['tcp', 'http']),
          upstreams: z.array(
            z.object({
              peer: z.string(),
              healthy: z.boolean(),
              path: z.enum(['direct', 'spliced', 'relayed']).nullable(),
              openStreams: z.number().int(),
            }),
          ),
        })
        .meta({ id: 'GatewayRoute' }),
    ),
  })
  .meta({ id: 'GatewayRoutes' });

/** What the operator decided about a deployment. */
export interface GatewayPublisher {
  readonly deployment: string;
  readonly rule: 'allow' | 'deny';
  /** Names it may hold; null = what gateway.yaml allows. */
  readonly names: number | null;
  /** Names it holds now. */
  readonly held: number;
  /** First characters of the hash of the code it came by. */
  readonly invite: string | null;
  readonly since: string;
}
const gatewayPublisherSchema: z.ZodType<GatewayPublisher> = z
  .object({
    deployment: z.string(),
    rule: z.enum(['allow', 'deny']),
    names: z.number().int().nullable(),
    held: z.number().int(),
    invite: z.string().nullable(),
    since: z.string(),
  })
  .meta({ id: 'GatewayPublisher' });

/** A code that somebody may still use, without the code. */
export interface GatewayInvite {
  /** First characters of its hash. */
  readonly id: string;
  readonly names: number | null;
  readonly uses: number;
  readonly used: number;
  readonly expires: string;
}
const gatewayInviteSchema: z.ZodType<GatewayInvite> = z
  .object({
    id: z.string(),
    names: z.number().int().nullable(),
    uses: z.number().int(),
    used: z.number().int(),
    expires: z.string(),
  })
  .meta({ id: 'GatewayInvite' });

/** `GET /v1/publishers`. */
export interface GatewayPublishers {
  readonly publishers: readonly GatewayPublisher[];
  readonly invites: readonly GatewayInvite[];
  readonly suspensions: readonly GatewaySuspension[];
}
export const gatewayPublishersSchema: z.ZodType<GatewayPublishers> = z
  .object({
    publishers: z.array(gatewayPublisherSchema),
    invites: z.array(gatewayInviteSchema),
    suspensions: z.array(gatewaySuspensionSchema),
  })
  .meta({ id: 'GatewayPublishers' });

/** `POST /v1/publishers`: counts at once, and is kept. */
export interface DecidePublisherRequest {
  readonly deployment: string;
  readonly rule: 'allow' | 'deny';
  readonly names?: number | undefined;
}
export const decidePublisherRequestSchema: z.ZodType<DecidePublisherRequest> = z
  .object({
    deployment: z.string(),
    rule: z.enum(['allow', 'deny']),
    names: z.number().int().min(0).max(1_000_000).optional(),
  })
  .meta({ id: 'DecidePublisherRequest' });
export const gatewayDecidedSchema: z.ZodType<GatewayPublisher> = gatewayPublisherSchema;

/** `POST /v1/forgotten`: what the deployment has shown is gone at once; rules and held names stay. */
export interface ForgetDeploymentRequest {
  readonly deployment: string;
}
export const forgetDeploymentRequestSchema: z.ZodType<ForgetDeploymentRequest> = z
  .object({ deployment: z.string() })
  .meta({ id: 'ForgetDeploymentRequest' });

/** What was forgotten. */
export interface ForgottenDeployment {
  readonly deployment: string;
  /** Version of the head that was pinned; null = none was. */
  readonly version: number | null;
  /** Names it holds, as before. */
  readonly held: number;
}
export const forgottenDeploymentSchema: z.ZodType<ForgottenDeployment> = z
  .object({ deployment: z.string(), version: z.number().int().nullable(), held: z.number().int() })
  .meta({ id: 'ForgottenDeployment' });

/** `POST /v1/invites`. */
export interface CreateInviteRequest {
  readonly names?: number | undefined;
  readonly uses: number;
  /** From now, in milliseconds. */
  readonly expiresInMs: number;
}
export const createInviteRequestSchema: z.ZodType<CreateInviteRequest> = z
  .object({
    names: z.number().int().min(1).max(1_000_000).optional(),
    uses: z.number().int().min(1).max(100_000),
    expiresInMs: z.number().int().min(1_000).max(31_622_400_000),
  })
  .meta({ id: 'CreateInviteRequest' });

/** A new code; it is told this once. */
export interface CreatedInvite extends GatewayInvite {
  readonly code: string;
}
export const createdInviteSchema: z.ZodType<CreatedInvite> = z
  .object({
    id: z.string(),
    names: z.number().int().nullable(),
    uses: z.number().int(),
    used: z.number().int(),
    expires: z.string(),
    code: z.string(),
  })
  .meta({ id: 'CreatedInvite' });

/** `POST /v1/key-rotation`. */
export interface RotateKeyRequest {
  /** False: make the next key. True: let it take over, with a restart. */
  readonly finish: boolean;
}
export const rotateKeyRequestSchema: z.ZodType<RotateKeyRequest> = z
  .object({ finish: z.boolean() })
  .meta({ id: 'RotateKeyRequest' });

/** Who answers, and who will. */
export interface KeyRotation {
  readonly peerId: string;
  /** Null once it has taken over. */
  readonly next: string | null;
}
export const keyRotationSchema: z.ZodType<KeyRotation> = z
  .object({ peerId: z.string(), next: z.string().nullable() })
  .meta({ id: 'KeyRotation' });
