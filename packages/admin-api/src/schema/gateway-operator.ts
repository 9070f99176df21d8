/** What the operator of a gateway does and looks up: suspensions, the audit log. Times are RFC 3339. */
import { z } from 'zod';

/** A name or a deployment that is off the air. */
export interface GatewaySuspension {
  /** Whole host name, or id of a deployment. */
  readonly subject: string;
  /** What clients get. */
  readonly status: 451 | 410;
  /** The operator's word to the publisher. */
  readonly note: string | null;
  readonly since: string;
}
export const gatewaySuspensionSchema: z.ZodType<GatewaySuspension> = z
  .object({
    subject: z.string(),
    status: z.union([z.literal(451), z.literal(410)]),
    note: z.string().nullable(),
    since: z.string(),
  })
  .meta({ id: 'GatewaySuspension' });

/** `POST /v1/suspensions`: counts at once at every worker, and is kept. */
export interface SuspendRequest {
  /** A name, a whole host name, or the id of a deployment. */
  readonly subject: string;
  /** 451: for legal reasons. 410: for good. */
  readonly status: 451 | 410;
  readonly note?: string | undefined;
}
export const suspendRequestSchema: z.ZodType<SuspendRequest> = z
  .object({
    subject: z.string().min(1).max(253),
    status: z.union([z.literal(451), z.literal(410)]),
    // It is part of an answer over the overlay, which takes 500 characters.
    note: z.string().min(1).max(200).optional(),
  })
  .meta({ id: 'SuspendRequest' });

/** `POST /v1/suspensions/ended`. */
export interface ResumeRequest {
  readonly subject: string;
}
export const resumeRequestSchema: z.ZodType<ResumeRequest> = z
  .object({ subject: z.string().min(1).max(253) })
  .meta({ id: 'ResumeRequest' });

/** What is on the air again. */
export interface Resumed {
  readonly subject: string;
  /** False: it was not suspended. */
  readonly changed: boolean;
}
export const resumedSchema: z.ZodType<Resumed> = z
  .object({ subject: z.string(), changed: z.boolean() })
  .meta({ id: 'Resumed' });

/** One line of the audit log as it is kept; its hash covers everything else in it. */
export interface GatewayAuditLine {
  readonly seq: number;
  readonly time: string;
  readonly action: string;
  /** `operator`, `gateway`, or a PeerId. */
  readonly actor: string;
  readonly subject?: string | undefined;
  readonly details?: Readonly<Record<string, string | number | boolean | null>> | undefined;
  readonly previous: string;
  readonly hash: string;
}
const auditLineSchema: z.ZodType<GatewayAuditLine> = z
  .object({
    seq: z.number().int(),
    time: z.string(),
    action: z.string(),
    actor: z.string(),
    subject: z.string().optional(),
    details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
    previous: z.string(),
    hash: z.string(),
  })
  .meta({ id: 'AuditLine' });

/** `GET /v1/audit?after=&since=`: up to 1000 lines behind number `after`, none before the time `since` (ms). */
export interface GatewayAudit {
  readonly lines: readonly GatewayAuditLine[];
  /** Number of the newest line. */
  readonly head: number;
}
export const gatewayAuditSchema: z.ZodType<GatewayAudit> = z
  .object({ lines: z.array(auditLineSchema), head: z.number().int() })
  .meta({ id: 'GatewayAudit' });

/** `POST /v1/audit/check`: the whole log against its sealed ends. */
export interface GatewayAuditCheck {
  readonly lines: number;
  /** Number of the first line that is kept. */
  readonly first: number;
  /** Worth keeping elsewhere: whoever has it can tell an older copy of the whole database from this one. */
  readonly head: { readonly seq: number; readonly hash: string };
  readonly problems: readonly { readonly seq: number; readonly message: string }[];
}
export const gatewayAuditCheckSchema: z.ZodType<GatewayAuditCheck> = z
  .object({
    lines: z.number().int(),
    first: z.number().int(),
    head: z.object({ seq: z.number().int(), hash: z.string() }),
    problems: z.array(z.object({ seq: z.number().int(), message: z.string() })),
  })
  .meta({ id: 'GatewayAuditCheck' });

/** `POST /v1/config`: gateway.yaml was read anew. */
export interface ConfigReload {
  /** Keys that are in force now, dotted. */
  readonly changed: readonly string[];
  /** Keys that differ and need a restart. */
  readonly needsRestart: readonly string[];
}
export const configReloadSchema: z.ZodType<ConfigReload> = z
  .object({ changed: z.array(z.string()), needsRestart: z.array(z.string()) })
  .meta({ id: 'ConfigReload' });

/** `POST /v1/backups`: everything was copied into a directory beside the state; whoever asked packs it and removes it. */
export interface GatewaySnapshot {
  readonly directory: string;
  readonly files: readonly string[];
  readonly domain: string;
  readonly peer: string;
  readonly version: string;
}
export const gatewaySnapshotSchema: z.ZodType<GatewaySnapshot> = z
  .object({
    directory: z.string(),
    files: z.array(z.string()),
    domain: z.string(),
    peer: z.string(),
    version: z.string(),
  })
  .meta({ id: 'GatewaySnapshot' });

/** `POST /v1/stop`. */
export interface StopRequest {
  /** Milliseconds for what runs to end by itself. @defaultValue ten seconds */
  readonly drainMs?: number | undefined;
}
export const stopRequestSchema: z.ZodType<StopRequest> = z
  .object({ drainMs: z.number().int().min(0).max(86_400_000).optional() })
  .meta({ id: 'StopRequest' });
