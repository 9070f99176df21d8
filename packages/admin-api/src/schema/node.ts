/** What the agent says about its machine: status, consent, forwards, joins, probes. */
import { z } from 'zod';
import { localAddressSchema, noticeSchema, type LocalAddress, type Notice } from './answer.ts';
import { planePathSchema, type PlanePath } from './plane-path.ts';
import { deploymentSummarySchema, type DeploymentSummary } from './deployment.ts';

/** One open link. */
export interface LinkStatus {
  readonly peer: string;
  readonly path: 'direct' | 'spliced' | 'relayed';
  readonly rttMs: number | null;
  readonly openStreams: number;
}
const linkStatusSchema: z.ZodType<LinkStatus> = z
  .object({
    peer: z.string(),
    path: z.enum(['direct', 'spliced', 'relayed']),
    rttMs: z.number().nullable(),
    openStreams: z.number().int(),
  })
  .meta({ id: 'LinkStatus' });

/** The agent as a whole. */
export interface NodeStatus {
  readonly peerId: string;
  readonly pid: number;
  readonly agentVersion: string;
  readonly startedAt: string;
  readonly uptimeMs: number;
  readonly stateDir: string;
  /** Multiaddrs with `/p2p/` that others can dial. */
  readonly addresses: readonly string[];
  readonly linkPort: number | null;
  /** The proxy: SOCKS5 and HTTP CONNECT. */
  readonly socks: LocalAddress | null;
  /** File with the proxy's password; null where it has none. */
  readonly proxyPasswordFile: string | null;
  /** Where names below `.internal` are answered. */
  readonly dns: LocalAddress | null;
  readonly access: 'loopback' | 'private';
  readonly anchor: boolean;
  readonly mdns: boolean;
  readonly connections: number;
  readonly rssBytes: number;
  readonly links: readonly LinkStatus[];
  readonly deployments: readonly DeploymentSummary[];
  readonly warnings: readonly Notice[];
}
export const nodeStatusSchema: z.ZodType<NodeStatus> = z
  .object({
    peerId: z.string(),
    pid: z.number().int(),
    agentVersion: z.string(),
    startedAt: z.string(),
    uptimeMs: z.number(),
    stateDir: z.string(),
    addresses: z.array(z.string()),
    linkPort: z.number().int().nullable(),
    socks: localAddressSchema.nullable(),
    proxyPasswordFile: z.string().nullable(),
    dns: localAddressSchema.nullable(),
    access: z.enum(['loopback', 'private']),
    anchor: z.boolean(),
    mdns: z.boolean(),
    connections: z.number().int(),
    rssBytes: z.number(),
    links: z.array(linkStatusSchema),
    deployments: z.array(deploymentSummarySchema),
    warnings: z.array(noticeSchema),
  })
  .meta({ id: 'NodeStatus' });

/** What the operator lets one deployment's contract reach on this machine. */
export interface Exposed {
  readonly deployment: string;
  /** `host:port`. */
  readonly target: string;
  /** True when streams from a gateway are let in too. */
  readonly public: boolean;
}
export const exposedSchema: z.ZodType<Exposed> = z
  .object({ deployment: z.string(), target: z.string(), public: z.boolean() })
  .meta({ id: 'Exposed' });

/** `target` may be a bare port, which means `127.0.0.1:<port>`. */
export interface ExposeRequest {
  /** Id or name. */
  readonly deployment: string;
  readonly target: string;
  readonly public?: boolean | undefined;
}
export const exposeRequestSchema: z.ZodType<ExposeRequest> = z
  .strictObject({ deployment: z.string(), target: z.string(), public: z.boolean().optional() })
  .meta({ id: 'ExposeRequest' });

export interface UnexposeRequest {
  readonly deployment: string;
  readonly target: string;
}
export const unexposeRequestSchema: z.ZodType<UnexposeRequest> = z
  .strictObject({ deployment: z.string(), target: z.string() })
  .meta({ id: 'UnexposeRequest' });

/** A join in one call. The token is a secret: it comes from a file or stdin and is never logged. */
export interface JoinRequest {
  readonly token: string;
  readonly expose?: readonly { readonly target: string; readonly public?: boolean | undefined }[] | undefined;
  /** How long to go on trying while no keeper is in reach. @defaultValue 0 */
  readonly waitMs?: number | undefined;
}
export const joinRequestSchema: z.ZodType<JoinRequest> = z
  .strictObject({
    // As long as a token may be.
    token: z.string().max(32_768),
    expose: z
      .array(z.strictObject({ target: z.string(), public: z.boolean().optional() }))
      .max(64)
      .optional(),
    waitMs: z.number().int().min(0).max(3_600_000).optional(),
  })
  .meta({ id: 'JoinRequest' });

/** The place this machine took. */
export interface Joined {
  readonly deployment: string;
  readonly name: string;
  readonly member: string;
  readonly version: number;
  /** PeerId of the keeper that answered. */
  readonly keeper: string;
}
export const joinedSchema: z.ZodType<Joined> = z
  .object({
    deployment: z.string(),
    name: z.string(),
    member: z.string(),
    version: z.number().int(),
    keeper: z.string(),
  })
  .meta({ id: 'Joined' });

/** A listener that leads to a service; kept over restarts. */
export interface Forward {
  readonly id: string;
  readonly deployment: string;
  readonly service: string;
  /** `127.0.0.1:<port>` or `unix:<path>`. */
  readonly local: string;
  /** Why a kept one does not listen now; the agent tries again when it starts. */
  readonly code?: string | undefined;
}
export const forwardSchema: z.ZodType<Forward> = z
  .object({
    id: z.string(),
    deployment: z.string(),
    service: z.string(),
    local: z.string(),
    code: z.string().optional(),
  })
  .meta({ id: 'Forward' });

export interface ForwardRequest {
  readonly deployment: string;
  readonly service: string;
  /** A port (0 = any free one), `host:port` on loopback, or `unix:<absolute path>`. */
  readonly local: string;
  /** Kept over restarts of the agent. @defaultValue false */
  readonly keep?: boolean | undefined;
}
export const forwardRequestSchema: z.ZodType<ForwardRequest> = z
  .strictObject({ deployment: z.string(), service: z.string(), local: z.string(), keep: z.boolean().optional() })
  .meta({ id: 'ForwardRequest' });

/** Allowed or denied, by which line of which version, whether it works, over which path. */
export interface Explanation {
  readonly deployment: string;
  readonly version: number;
  /** A member, or `gateway:<domain>`. */
  readonly from: string;
  /** A service. */
  readonly to: string;
  /** By the contract, and by the consent of the machines that this one knows of. */
  readonly allowed: boolean;
  /** What this machine saw when it tried; null where it is not the one that can. */
  readonly works: boolean | null;
  /** Why not: the code a stream would be refused with. */
  readonly code: string | null;
  readonly reason: string;
  /** Position in the contract's `access` list; null when denied, and for gateways. */
  readonly grant: number | null;
  /** How this machine reaches the service now; null when it does not. */
  readonly path: 'direct' | 'spliced' | 'relayed' | null;
  /** Why the path is what it is. */
  readonly pathReason: string;
  /** How WireGuard packets go; absent where no interface leads there. */
  readonly plane?: PlanePath | undefined;
  /** Commands that lead on, best first. */
  readonly next: readonly string[];
}
export const explanationSchema: z.ZodType<Explanation> = z
  .object({
    deployment: z.string(),
    version: z.number().int(),
    from: z.string(),
    to: z.string(),
    allowed: z.boolean(),
    works: z.boolean().nullable(),
    code: z.string().nullable(),
    reason: z.string(),
    grant: z.number().int().nullable(),
    path: z.enum(['direct', 'spliced', 'relayed']).nullable(),
    pathReason: z.string(),
    plane: planePathSchema.optional(),
    next: z.array(z.string()),
  })
  .meta({ id: 'Explanation' });

/** `target` is a member or a service of the deployment. */
export interface PingRequest {
  readonly target: string;
  /** @defaultValue 10000 */
  readonly timeoutMs?: number | undefined;
  /** Looks for a direct way of WireGuard packets first, for a second at most. @defaultValue false */
  readonly direct?: boolean | undefined;
}
export const pingRequestSchema: z.ZodType<PingRequest> = z
  .strictObject({
    target: z.string(),
    timeoutMs: z.number().int().min(1).max(60_000).optional(),
    direct: z.boolean().optional(),
  })
  .meta({ id: 'PingRequest' });

export interface Pinged {
  readonly member: string;
  readonly peer: string;
  readonly rttMs: number;
  readonly path: 'direct' | 'spliced' | 'relayed';
  /** Why the path is what it is. */
  readonly pathReason: string;
  /** How WireGuard packets go; absent where no interface leads there. */
  readonly plane?: PlanePath | undefined;
}
export const pingedSchema: z.ZodType<Pinged> = z
  .object({
    member: z.string(),
    peer: z.string(),
    rttMs: z.number(),
    path: z.enum(['direct', 'spliced', 'relayed']),
    pathReason: z.string(),
    plane: planePathSchema.optional(),
  })
  .meta({ id: 'Pinged' });

/** What `moat run` needs to give a program the names of a network. */
export interface HostsAnswer {
  readonly deployment: string;
  readonly network: string;
  readonly hosts: readonly {
    readonly name: string;
    readonly service: string;
    readonly address: string;
    /** The service's own port, or the one in use where that one was refused. */
    readonly port: number;
  }[];
  readonly socks: LocalAddress | null;
  /** File with the proxy's password; null where it has none. */
  readonly proxyPasswordFile: string | null;
  /** Path of the network namespace in which all of this is; null = where the agent runs. */
  readonly netns: string | null;
  /** Who answers these names there. */
  readonly nameServer: string | null;
}
export const hostsAnswerSchema: z.ZodType<HostsAnswer> = z
  .object({
    deployment: z.string(),
    network: z.string(),
    hosts: z.array(z.object({ name: z.string(), service: z.string(), address: z.string(), port: z.number().int() })),
    socks: localAddressSchema.nullable(),
    proxyPasswordFile: z.string().nullable(),
    netns: z.string().nullable(),
    nameServer: z.string().nullable(),
  })
  .meta({ id: 'HostsAnswer' });
