/** What a gateway says over its own admin socket. Times are RFC 3339. */
import { z } from 'zod';
import { noticeSchema, type Notice } from './answer.ts';

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
  readonly connections: number;
  readonly links: number;
  readonly names: number;
  readonly requestsInFlight: number;
  readonly requestsTotal: number;
  readonly rssBytes: number;
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
    connections: z.number().int(),
    links: z.number().int(),
    names: z.number().int(),
    requestsInFlight: z.number().int(),
    requestsTotal: z.number().int(),
    rssBytes: z.number(),
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
  readonly claimedAt: string;
  /** When the name is free again if no member comes. */
  readonly heldUntil: string | null;
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
          claimedAt: z.string(),
          heldUntil: z.string().nullable(),
        })
        .meta({ id: 'GatewayName' }),
    ),
  })
  .meta({ id: 'GatewayNames' });

/** A host in the route snapshot in force and the members behind it. */
export interface GatewayRoute {
  readonly host: string;
  readonly deployment: string;
  readonly service: string;
  readonly kind: 'tcp' | 'http';
  readonly upstreams: readonly {
    readonly peer: string;
    readonly healthy: boolean;
    readonly path: 'direct' | 'relayed' | null;
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
              path: z.enum(['direct', 'relayed']).nullable(),
              openStreams: z.number().int(),
            }),
          ),
        })
        .meta({ id: 'GatewayRoute' }),
    ),
  })
  .meta({ id: 'GatewayRoutes' });
