/** A held name becomes another's. Pure. */
import type { DeploymentId } from '@moat/core';
import type { NameRecord } from '../store/store.ts';

/** The record of `name` with its new holder, for whom the lease begins anew: as long as it was for the one before. */
export function givenTo(name: NameRecord, deployment: DeploymentId, nowMs: number): NameRecord {
  return { host: name.host, deployment, claimedAtMs: nowMs, lastLiveMs: nowMs, served: name.served };
}
