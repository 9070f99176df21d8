/** What stands between a tunnel's UDP socket and the internet, as far as anchors can tell. */
import type { Endpoint } from '@moat/core';

/**
 * - `none`: the address that anchors see is our own.
 * - `eim`: one port for all destinations (endpoint-independent mapping, RFC 4787 §4.1).
 * - `edm`: another port for each destination (endpoint-dependent mapping, "symmetric").
 * - `unknown`: translated, but only one anchor saw it.
 * - `blocked`: nothing of ours arrived at any anchor.
 * - `unseen`: no anchor could be asked.
 */
export type NatKind = 'none' | 'eim' | 'edm' | 'unknown' | 'blocked' | 'unseen';

/** What is known of a machine's IPv4 way out. */
export interface NatEvidence {
  /** What anchors saw. */
  readonly seen: readonly Endpoint[];
  /** Anchors that were reached and saw nothing. */
  readonly silent: number;
  /** Our own addresses. */
  readonly own: readonly string[];
}

/** The kind that the evidence shows; IPv6 observations say nothing about it. */
export function natKindOf({ seen, silent, own }: NatEvidence): NatKind {
  const [first, ...others] = seen.filter(({ host }) => !host.includes(':'));
  if (first === undefined) return silent > 0 ? 'blocked' : 'unseen';
  if (own.includes(first.host)) return 'none';
  if (others.some(({ host, port }) => host !== first.host || port !== first.port)) return 'edm';
  return others.length > 0 ? 'eim' : 'unknown';
}
