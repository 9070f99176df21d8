import type { DeploymentId, Hash, PeerId } from '@moat/core';

/**
 * The head that each connected peer last showed us itself, so that nobody is told what they told us. What a peer says
 * wrongly keeps news from nobody but itself.
 * Bound: one head for each connected peer and deployment held here.
 */
export class ShownHeads {
  readonly #heads = new Map<PeerId, Map<DeploymentId, Hash>>();

  /** @param head null = the peer holds nothing of the deployment */
  put(peer: PeerId, deployment: DeploymentId, head: Hash | null): void {
    const known = this.#heads.get(peer) ?? new Map<DeploymentId, Hash>();
    if (head === null) known.delete(deployment);
    else known.set(deployment, head);
    this.#heads.set(peer, known);
  }

  isShown(peer: PeerId, deployment: DeploymentId, head: Hash): boolean {
    return this.#heads.get(peer)?.get(deployment) === head;
  }

  forget(peer: PeerId): void {
    this.#heads.delete(peer);
  }
}
