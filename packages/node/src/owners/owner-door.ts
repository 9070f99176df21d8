/** The keeper's side of an owner who is no member: whose proof counts, and what it gets to see. */
import { errorCode, type DeploymentId, type Logger, type OwnerKey, type PeerId } from '@moat/core';
import { CLOCK_TOLERANCE_MS, contractBytes, ownerSetOf, verifyOwnerProof, type SignedOwnerProof } from '@moat/contract';
import type { Snapshot } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import type { LocalTime } from '../local-time.ts';

/** Proofs remembered so that none counts twice; only owners can fill it. The oldest is dropped. */
const MAX_USED = 1024;

export interface OwnerDoorDeps {
  readonly self: PeerId;
  readonly deployments: Deployments;
  readonly time: LocalTime;
  readonly logger: Logger;
  /** Multiaddrs with `/p2p/` of the pinned keepers. */
  readonly keepers: (deployment: Deployment) => readonly string[];
}

export class OwnerDoor {
  readonly #deps: OwnerDoorDeps;
  /** Signature → when it is too old anyway, in milliseconds since 1970. */
  readonly #used = new Map<string, number>();

  constructor(deps: OwnerDoorDeps) {
    this.#deps = deps;
  }

  /** The owner behind a connection from `from`; null for everything else. A proof counts once. */
  prove(signed: SignedOwnerProof, from: PeerId): OwnerKey | null {
    const { self, time, logger } = this.#deps;
    const { deployment: id } = signed.proof;
    const deployment = this.#deps.deployments.get(id);
    if (deployment === undefined || !isKeptHere(deployment)) return null;
    const now = time.unadjusted;
    try {
      const owners = ownerSetOf(deployment.contract.owners);
      const owner = verifyOwnerProof(signed, { deployment: id, dialer: from, keeper: self, owners, now });
      return this.#isFirst(signed.signature, now) ? owner : null;
    } catch (error) {
      logger.info(
        { component: 'node.owners', peer: from, deployment: id, code: errorCode(error), err: error },
        'owner refused',
      );
      return null;
    }
  }

  isOwner(id: DeploymentId, owner: OwnerKey): boolean {
    const deployment = this.#deps.deployments.get(id);
    return deployment?.contract.owners.keys.some(({ key }) => key === owner) === true;
  }

  snapshot(deployment: Deployment): Snapshot {
    return {
      proof: deployment.proof,
      contract: contractBytes(deployment.contract),
      claims: deployment.currentClaims,
      keepers: this.#deps.keepers(deployment),
    };
  }

  #isFirst(signature: string, now: number): boolean {
    for (const [used, until] of this.#used) if (until < now) this.#used.delete(used);
    if (this.#used.has(signature)) return false;
    const [oldest] = this.#used.keys();
    if (oldest !== undefined && this.#used.size >= MAX_USED) this.#used.delete(oldest);
    this.#used.set(signature, now + 2 * CLOCK_TOLERANCE_MS);
    return true;
  }
}

/** True where this machine is a keeper that the version in force pins. */
export function isKeptHere({ place }: Deployment): boolean {
  return place?.state === 'pinned' && place.keeper;
}
