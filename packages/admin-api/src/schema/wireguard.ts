/** The WireGuard interface of one network on this machine. */
import { z } from 'zod';
import { noticeSchema, type Notice } from './answer.ts';

/** What the operator asks for. */
export interface WireguardUpRequest {
  /** Name of a network namespace, made where there is none, or path of one. @defaultValue the agent's own, or the one it has */
  readonly netns?: string | undefined;
  /** UDP. @defaultValue the one it has, or the first free one from 51820 */
  readonly port?: number | undefined;
}
export const wireguardUpRequestSchema: z.ZodType<WireguardUpRequest> = z
  .strictObject({
    netns: z
      .string()
      .max(255)
      .regex(/^(?:[A-Za-z0-9][A-Za-z0-9._-]*|\/[^\0]+)$/, 'a name such as web, or a path such as /proc/4711/ns/net')
      .optional(),
    port: z.number().int().min(1).max(65_535).optional(),
  })
  .meta({ id: 'WireguardUpRequest' });

/** One peer of the interface, and how its packets go. */
export interface WireguardPeer {
  readonly member: string;
  /** PeerId; null for a device behind this member. */
  readonly peer: string | null;
  readonly key: string;
  /** Inside the network, without prefix length. */
  readonly addresses: readonly string[];
  /** `host:port` its packets are sent to; null = not known yet. */
  readonly endpoint: string | null;
  /** `asleep`: nothing was sent lately; `riding`: inside a link; `forwarded`: over UDP by another member. */
  readonly path: 'asleep' | 'riding' | 'punching' | 'direct' | 'forwarded' | null;
  /** Of the link, where packets ride one. */
  readonly over: 'direct' | 'spliced' | 'relayed' | null;
  /** The member that passes packets on, where one does. */
  readonly forwarder: string | null;
  /** Why it is not direct; null where it is. */
  readonly reason: { readonly code: string; readonly text: string } | null;
  /** RFC 3339; null = never. */
  readonly handshakeAt: string | null;
  /** Bytes. */
  readonly received: number;
  readonly sent: number;
  /** 0 = off. */
  readonly keepaliveSeconds: number;
  /** Against computers that break today's keys: agreed on (pq), one that stood before the agent began (seed), or none. */
  readonly presharedKey: 'none' | 'seed' | 'pq';
}
const wireguardPeerSchema: z.ZodType<WireguardPeer> = z
  .object({
    member: z.string(),
    peer: z.string().nullable(),
    key: z.string(),
    addresses: z.array(z.string()),
    endpoint: z.string().nullable(),
    path: z.enum(['asleep', 'riding', 'punching', 'direct', 'forwarded']).nullable(),
    over: z.enum(['direct', 'spliced', 'relayed']).nullable(),
    forwarder: z.string().nullable(),
    reason: z.object({ code: z.string(), text: z.string() }).nullable(),
    handshakeAt: z.string().nullable(),
    received: z.number(),
    sent: z.number(),
    keepaliveSeconds: z.number().int(),
    presharedKey: z.enum(['none', 'seed', 'pq']),
  })
  .meta({ id: 'WireguardPeer' });

/** The interface of one network on this machine. */
export interface WireguardStatus {
  readonly deployment: string;
  readonly name: string;
  /** Our place; null where this machine has none. */
  readonly member: string | null;
  /** `off`: nobody asked for it, or there is no place; `closed`: everything is stopped; `failed`: see `error`, it is tried again. */
  readonly state: 'off' | 'starting' | 'up' | 'closed' | 'failed';
  readonly error: { readonly code: string; readonly message: string; readonly next: readonly string[] } | null;
  readonly interface: string | null;
  readonly backend: 'kernel' | 'userspace' | 'memory' | null;
  /** Name or path; null = the agent's own. */
  readonly netns: string | null;
  readonly port: number | null;
  readonly addresses: readonly string[];
  /** Under which range this machine sees the network, where its own is taken here. */
  readonly remap: { readonly network: string; readonly as: string } | null;
  /** `public`: the key that others know; `next`: one that waits for the owners' next version; `told`: a keeper has heard of ours. */
  readonly key: { readonly public: string | null; readonly next: string | null; readonly told: boolean };
  readonly peers: readonly WireguardPeer[];
  /** Services of this member that the interface does not serve, and why. */
  readonly unserved: readonly { readonly service: string; readonly reason: string }[];
  /** What the machine lacks for what the contract asks of it. */
  readonly warnings: readonly Notice[];
}
export const wireguardStatusSchema: z.ZodType<WireguardStatus> = z
  .object({
    deployment: z.string(),
    name: z.string(),
    member: z.string().nullable(),
    state: z.enum(['off', 'starting', 'up', 'closed', 'failed']),
    error: z.object({ code: z.string(), message: z.string(), next: z.array(z.string()) }).nullable(),
    interface: z.string().nullable(),
    backend: z.enum(['kernel', 'userspace', 'memory']).nullable(),
    netns: z.string().nullable(),
    port: z.number().int().nullable(),
    addresses: z.array(z.string()),
    remap: z.object({ network: z.string(), as: z.string() }).nullable(),
    key: z.object({ public: z.string().nullable(), next: z.string().nullable(), told: z.boolean() }),
    peers: z.array(wireguardPeerSchema),
    unserved: z.array(z.object({ service: z.string(), reason: z.string() })),
    warnings: z.array(noticeSchema),
  })
  .meta({ id: 'WireguardStatus' });
