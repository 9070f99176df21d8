/**
 * What happened to a network, as this machine saw it: the versions it accepted with who signed them, and what members say they
 * did with the one in force. Versions are chained and signed themselves, and verified when they are accepted.
 */
import type { AgentClient } from '@moat/admin-api';
import { parseContract, parseSignedHead } from '@moat/contract';

export interface HistoryLine {
  readonly time: string;
  readonly action: 'version.accepted' | 'version.applied' | 'version.failed';
  /** Names of owners, or of a member. */
  readonly actor: string;
  /** Name of the network. */
  readonly subject: string;
  readonly details: Readonly<Record<string, string | number>>;
}

/** Versions looked at; an agent keeps 100. */
const MAX_VERSIONS = 100;

/** Oldest first. @param sinceMs milliseconds since the epoch @throws `AGENT_NOT_RUNNING`, `DEPLOYMENT_UNKNOWN` */
export async function networkHistory(agent: AgentClient, id: string, sinceMs: number): Promise<HistoryLine[]> {
  const { name, version: newest, memberReceipts } = await agent.deployment(id);
  const lines: HistoryLine[] = memberReceipts
    .filter(({ time }) => Date.parse(time) >= sinceMs)
    .map(({ time, member, version, result, code }) => ({
      time,
      action: result === 'applied' ? 'version.applied' : 'version.failed',
      actor: member,
      subject: name,
      details: { version, ...(code === null ? {} : { code }) },
    }));
  for (let version = newest; version >= Math.max(0, newest - MAX_VERSIONS + 1); version--) {
    const stored = await agent.version(id, version).catch(() => undefined);
    if (stored === undefined || Date.parse(stored.acceptedAt) < sinceMs) break;
    const { head, signatures } = parseSignedHead(stored.signed);
    const named = new Map(parseContract(stored.contract).owners.keys.map((owner) => [owner.key, owner.name]));
    lines.push({
      time: stored.acceptedAt,
      action: 'version.accepted',
      // Who was replaced by this version is in the one before it.
      actor: signatures.map(({ key }) => named.get(key) ?? 'a former owner').join(' '),
      subject: name,
      details: { version, contract: head.contract },
    });
  }
  return lines.toSorted((a, b) => Date.parse(a.time) - Date.parse(b.time));
}
