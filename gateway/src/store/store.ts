/**
 * What a gateway keeps: who holds which name, the newest head of each deployment with what it publishes, who
 * may publish.
 * A change is acknowledged after it is on disk, whole or not at all.
 * Implementations: sqlite (one gateway); a fleet will share PostgreSQL.
 */
import type { DeploymentId } from '@moat/core';
import type { HeadProof, Publication, WitnessedClaim } from '@moat/contract';

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

/** Changes that stand or fall together. */
export interface StoreChange {
  readonly deployments?: readonly DeploymentRecord[];
  readonly names?: readonly NameRecord[];
  readonly releasedHosts?: readonly string[];
  readonly forgotten?: readonly DeploymentId[];
  readonly publishers?: readonly PublisherRecord[];
  readonly invites?: readonly InviteRecord[];
  /** By hash. */
  readonly removedInvites?: readonly string[];
}

export interface GatewayStore {
  names(): NameRecord[];
  deployments(): DeploymentRecord[];
  publishers(): PublisherRecord[];
  invites(): InviteRecord[];
  /** Returns when the change is on disk. @throws `DISK_FULL`, `STORE_FAILED` */
  commit(change: StoreChange): void;
  close(): void;
}
