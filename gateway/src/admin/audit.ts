/** The audit log as the admin API shows it. */
import type { GatewayAudit, GatewayAuditCheck, GatewayAuditLine } from '@moat/admin-api';
import { parseLine } from '../audit/check.ts';
import type { AuditStore } from '../store/audit-table.ts';

/** Lines of one answer. */
const MAX_LINES = 1_000;

/** Lines that cannot be read are left out here; {@link checkAudit} tells of them. */
export function readAudit(audit: AuditStore, afterSeq: number, sinceMs: number): GatewayAudit {
  const lines: (GatewayAuditLine | undefined)[] = audit.read(afterSeq, sinceMs, MAX_LINES).map(parseLine);
  return { lines: lines.filter((line) => line !== undefined), head: audit.head.seq };
}

export async function checkAudit(audit: AuditStore): Promise<GatewayAuditCheck> {
  const { lines, problems } = await audit.check();
  const { seq, hash } = audit.head;
  return { lines, first: audit.anchor.seq + 1, head: { seq, hash }, problems };
}
