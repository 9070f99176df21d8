/**
 * What a gateway keeps: who holds which name, the newest head of each deployment with what it publishes, who
 * may publish.
 * A change is acknowledged after it is on disk, whole or not at all.
 * Implementations: sqlite (one gateway); a fleet will share PostgreSQL.
 */
import type { DeploymentId } from '@moat/core';
import type { CertificateChange, CertificateState } from '@moat/acme';
import type { HeadProof, Publication, WitnessedClaim } from '@moat/contract';
import type { DirectoryStore } from '@moat/overlay';
import type { AuditEvent } from '../audit/chain.ts';
import type { AuditStore } from './audit-table.ts';

/** A name and its holder. Times in milliseconds since the epoch. */
export interface NameRecord {
  /** Whole host name, lower case. */
  readonly host: string;
  readonly deployment: DeploymentId;
  readonly claimedAtMs: number;
  /** When a member of the deployment was last connected for it. */
  readonly lastLiveMs: number;
  /** True once a request was answered through it. */
  readonly served: boolean;
  /** Of a host outside the domain: when the DNS last said that it is the deployment's. */
  readonly proof?: NameProof;
}

export interface NameProof {
  readonly provenMs: number;
  /** Since when the record is not there any more; null = it was there at the last look. */
  readonly failingMs: number | null;
}

/** The operator's word that a deployment may claim a host. */
export interface NameGrantRecord {
  readonly host: string;
  readonly deployment: DeploymentId;
  readonly sinceMs: number;
}

/** What a deployment has shown: its newest head, proved, and everything it publishes here. */
export interface DeploymentRecord {
  readonly deployment: DeploymentId;
  readonly proof: HeadProof;
  readonly publications: readonly Publication[];
  /** Claims by which members hold their places in `publications`. */
  readonly claims: readonly WitnessedClaim[];
  readonly updatedMs: number;
}

/** What the operator decided about a deployment, by hand or by a code. */
export interface PublisherRecord {
  readonly deployment: DeploymentId;
  readonly rule: 'allow' | 'deny';
  /** Names it may hold; null = what the gateway allows. */
  readonly names: number | null;
  /** Hash of the code it came by; null = the operator's own word. */
  readonly invite: string | null;
  readonly sinceMs: number;
}

/** An invite code, without the code. */
export interface InviteRecord {
  readonly hash: string;
  /** Names each deployment that uses it may hold; null = what the gateway allows. */
  readonly names: number | null;
  /** Deployments that may use it. */
  readonly uses: number;
  readonly used: number;
  readonly createdMs: number;
  readonly expiresMs: number;
}

/** A name or a deployment that the operator took off the air. */
export interface SuspensionRecord {
  /** Whole host name, or id of a deployment. */
  readonly subject: string;
  /** What clients are answered: 451 for legal reasons, 410 for good. */
  readonly status: SuspensionStatus;
  /** The operator's word to the publisher; clients do not see it. */
  readonly note: string | null;
  readonly sinceMs: number;
}

export type SuspensionStatus = 451 | 410;

/** Changes that stand or fall together. */
export interface StoreChange {
  readonly deployments?: readonly DeploymentRecord[];
  readonly names?: readonly NameRecord[];
  readonly releasedHosts?: readonly string[];
  readonly nameGrants?: readonly NameGrantRecord[];
  readonly forgotten?: readonly DeploymentId[];
  readonly publishers?: readonly PublisherRecord[];
  readonly invites?: readonly InviteRecord[];
  /** By hash. */
  readonly removedInvites?: readonly string[];
  readonly suspensions?: readonly SuspensionRecord[];
  /** By subject. */
  readonly resumed?: readonly string[];
  /** Keys in it are sealed. */
  readonly certificates?: CertificateChange;
  /** Lines of the audit log, in order: what of the change somebody may ask about later. */
  readonly audit?: readonly AuditEvent[];
}

export interface GatewayStore {
  names(): NameRecord[];
  nameGrants(): NameGrantRecord[];
  deployments(): DeploymentRecord[];
  publishers(): PublisherRecord[];
  invites(): InviteRecord[];
  suspensions(): SuspensionRecord[];
  /** What is kept of certificates; keys in it are sealed. */
  certificates(): CertificateState;
  readonly audit: AuditStore;
  /** What it keeps of the public directory as an anchor; anybody's word, and so apart from the rest. */
  readonly directory: DirectoryStore;
  /** Writes the database as of one moment into a new file, while others write on. @throws `DISK_FULL`, `STORE_FAILED` */
  backup(path: string): Promise<void>;
  /** Forgets lines of the audit log that are older than a time or more than so many; returns how many. @throws as `commit` */
  pruneAudit(beforeMs: number, keepLines: number): number;
  /** Returns when the change is on disk. @throws `DISK_FULL`, `STORE_FAILED` */
  commit(change: StoreChange): void;
  close(): void;
}
