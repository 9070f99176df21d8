/** What the audit log says of names. Pure. */
import type { PeerId } from '@moat/core';
import type { AuditEvent } from '../audit/chain.ts';
import type { NameRecord } from '../store/store.ts';

/** One line for each name that nobody held until now. */
export function claimedNames(
  names: readonly NameRecord[],
  registry: { get(host: string): NameRecord | undefined },
  peer: PeerId,
): AuditEvent[] {
  return names
    .filter(({ host }) => registry.get(host) === undefined)
    .map(({ host, deployment }) => ({ action: 'name.claimed', actor: peer, subject: host, details: { deployment } }));
}

/** One line for each name whose lease is over. */
export function releasedNames(names: readonly NameRecord[]): AuditEvent[] {
  return names.map(({ host, deployment }) => ({
    action: 'name.released',
    actor: 'gateway',
    subject: host,
    details: { deployment },
  }));
}
