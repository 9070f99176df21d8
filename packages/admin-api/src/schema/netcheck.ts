/** How the world sees a network's WireGuard interface on this machine. */
import { z } from 'zod';

/** Addresses are `host:port`. */
export interface NetcheckReport {
  readonly deployment: string;
  readonly name: string;
  /**
   * What stands between this machine and the internet: nothing, a router that keeps one port for all destinations (eim),
   * one that takes another for each (edm), translated in a way that one anchor alone cannot tell (unknown), no UDP at all
   * (blocked), or nobody to ask (unseen).
   */
  readonly nat: 'none' | 'eim' | 'edm' | 'unknown' | 'blocked' | 'unseen';
  /** UDP. */
  readonly port: number;
  readonly anchors: readonly {
    readonly anchor: string;
    /** Null when nothing of ours arrived there, with the code why. */
    readonly seen: string | null;
    readonly rttMs: number | null;
    readonly code: string | null;
  }[];
  /** What the router leads to us on request. */
  readonly mapped: string | null;
  /** How it was asked for; null with `mapped`. */
  readonly mappedBy: 'nat-pmp' | 'upnp' | null;
  /** Addresses of our own interfaces. */
  readonly local: readonly string[];
  /** Members that pass packets on for others. */
  readonly forwarders: readonly string[];
}
export const netcheckReportSchema: z.ZodType<NetcheckReport> = z
  .object({
    deployment: z.string(),
    name: z.string(),
    nat: z.enum(['none', 'eim', 'edm', 'unknown', 'blocked', 'unseen']),
    port: z.number().int(),
    anchors: z.array(
      z.object({
        anchor: z.string(),
        seen: z.string().nullable(),
        rttMs: z.number().nullable(),
        code: z.string().nullable(),
      }),
    ),
    mapped: z.string().nullable(),
    mappedBy: z.enum(['nat-pmp', 'upnp']).nullable(),
    local: z.array(z.string()),
    forwarders: z.array(z.string()),
  })
  .meta({ id: 'NetcheckReport' });
