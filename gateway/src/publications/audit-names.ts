/** What the audit log says of names. Pure. */
import type { PeerId } from '@moat/core';
import type { AuditEvent } from '../audit/chain.ts';
import type { NameRecord } from '../store/store.ts';

/** One line for each name that nobody held until now, or another did. */
export function claimedNames(
  names: readonly NameRecord[],
  registry: { get(host: string): NameRecord | undefined },
  peer: PeerId,
): AuditEvent[] {
  return names
    .filter(({ host, deployment }) => registry.get(host)?.deployment !== deployment)
    .map(({ host, deployment }) => {
      const from = registry.get(host)?.deployment;
      const about = { actor: peer, subject: host };
      if (from === undefined) return { action: 'name.claimed', ...about, details: { deployment } };
      return { action: 'name.transferred', ...about, details: { from, deployment } };
    });
}

/** One line for each name that is nobody's any more. @param actor who gave it up, or the gateway whose lease it was */
export function releasedNames(names: readonly NameRecord[], actor: string = 'gateway'): AuditEvent[] {
  return names.map(({ host, deployment }) => ({
    action: 'name.released',
    actor,
    subject: host,
    details: { deployment },
  }));
}
