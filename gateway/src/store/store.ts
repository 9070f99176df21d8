/**
 * What a gateway keeps: who holds which name, the newest head of each deployment with what it publishes.
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

/** Changes that stand or fall together. */
export interface StoreChange {
  readonly deployments?: readonly DeploymentRecord[];
  readonly names?: readonly NameRecord[];
  readonly releasedHosts?: readonly string[];
}

export interface GatewayStore {
  names(): NameRecord[];
  deployments(): DeploymentRecord[];
  /** Returns when the change is on disk. @throws `DISK_FULL`, `STORE_FAILED` */
  commit(change: StoreChange): void;
  close(): void;
}
