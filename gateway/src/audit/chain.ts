/**
 * The audit log as a chain: each line carries the hash of the one before, and its own hash covers that and everything it
 * says. So a line that was edited, dropped or moved shows, and a tail that was cut off shows against the sealed head.
 * Pure.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { canonicalBytes } from '@moat/contract';
import { toBase64url, type Hash } from '@moat/core';

/** Everything the audit log has a word for; `docs/reference/audit-log.md` says what each means. */
export const AUDIT_ACTIONS = [
  'audit.begun',
  'audit.broken',
  'audit.pruned',
  'gateway.started',
  'gateway.restored',
  'gateway.draining',
  'name.claimed',
  'name.released',
  'name.held',
  'name.transferred',
  'name.suspended',
  'name.resumed',
  'publisher.allowed',
  'publisher.denied',
  'publisher.suspended',
  'publisher.resumed',
  'publisher.forgotten',
  'invite.made',
  'invite.redeemed',
  'certificate.issued',
  'certificate.failed',
  'config.reloaded',
  'config.refused',
  'workers.restarted',
  'worker.died',
  'key.begun',
  'key.rotated',
  'backup.made',
] as const;

export type AuditAction = (typeof AUDIT_ACTIONS)[number];

/** What happened. Never secrets: the log is read by more people than the state is. */
export interface AuditEvent {
  readonly action: AuditAction;
  /** Who: `operator` over the admin socket, `gateway` by itself, or the PeerId that asked. */
  readonly actor: string;
  /** What it is about: a host, a deployment id, the first characters of a code's hash. */
  readonly subject?: string;
  readonly details?: Readonly<Record<string, string | number | boolean | null>>;
}

/** One line as it is kept; its members are sorted and written by RFC 8785 where it is hashed. */
export interface AuditLine extends AuditEvent {
  /** Counts up from 1 without a gap. */
  readonly seq: number;
  /** RFC 3339. */
  readonly time: string;
  /** Hash of the line before; of the first one {@link NO_LINE}'s. */
  readonly previous: Hash;
  readonly hash: Hash;
}

/** The end of a chain. */
export interface AuditHead {
  readonly seq: number;
  readonly hash: Hash;
}

/** Where the chain begins: before the first line, or behind the last one that was pruned. */
export type AuditAnchor = AuditHead;

export const NO_LINE: AuditHead = { seq: 0, hash: toBase64url(new Uint8Array(32)) };

/** The line that follows `head`. @throws `NOT_CANONICAL` for details that JSON cannot say */
export function chainLine(head: AuditHead, event: AuditEvent, timeMs: number): AuditLine {
  const { action, actor, subject, details } = event;
  const body = {
    seq: head.seq + 1,
    time: new Date(timeMs).toISOString(),
    action,
    actor,
    ...(subject === undefined ? {} : { subject }),
    ...(details === undefined ? {} : { details }),
    previous: head.hash,
  };
  return { ...body, hash: hashOfLine(body) };
}

/** SHA-256 over `"moat/audit/1" || 0x00 || JCS(line without hash)`. @throws `NOT_CANONICAL` */
export function hashOfLine(line: Omit<AuditLine, 'hash'>): Hash {
  const hash = createHash('sha256').update('moat/audit/1\0');
  return toBase64url(hash.update(canonicalBytes(line)).digest());
}

/** Binds beginning and end of the chain to a key that is not in the database. */
export function sealOf(key: Uint8Array, anchor: AuditAnchor, head: AuditHead): string {
  const text = `moat/audit-head/1\0${anchor.seq}\0${anchor.hash}\0${head.seq}\0${head.hash}`;
  return toBase64url(createHmac('sha256', key).update(text).digest());
}

export function isSeal(key: Uint8Array, anchor: AuditAnchor, head: AuditHead, seal: string): boolean {
  const [expected, given] = [Buffer.from(sealOf(key, anchor, head)), Buffer.from(seal)];
  return expected.length === given.length && timingSafeEqual(expected, given);
}
