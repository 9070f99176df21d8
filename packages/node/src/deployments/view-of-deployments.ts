/** What the overlay may ask about deployments, answered from memory. */
import type { PeerId } from '@moat/core';
import type { DeploymentView } from '@moat/overlay';
import type { DeploymentStore } from '../store/deployment-store.ts';
import type { Deployments } from './deployments.ts';
import type { Keeper } from './keeper.ts';

export interface ViewDeps {
  readonly self: PeerId;
  readonly deployments: Deployments;
  readonly keeper: Keeper;
  readonly store: DeploymentStore;
}

/** The overlay's port over this node's deployments. */
export function viewOfDeployments({ self, deployments, keeper, store }: ViewDeps): DeploymentView {
  return {
    deployments: () => deployments.list().map(({ id }) => id),
    sharedWith: (peer) =>
      deployments
        .list()
        .filter(({ audience }) => peer !== self && audience.has(peer))
        .map(({ id }) => id),
    proof: (id) => deployments.get(id)?.proof,
    expects: (id) => deployments.expects(id),
    ownClaim: (id) => {
      const place = deployments.get(id)?.place;
      return place?.state === 'claimed' ? place.claim : undefined;
    },
    claims: (id) => deployments.get(id)?.currentClaims ?? [],
    contract: (id, version) => (deployments.get(id) === undefined ? undefined : store.version(id, version)?.contract),
    acceptProof: (from, proof, pull) => deployments.offerProof(from, proof, pull),
    headShown: (from, id, head) => deployments.headShown(from, id, head),
    acceptClaim: (from, claim) => Promise.resolve(deployments.offerClaim(from, claim)),
    witness: async (request, from) => keeper.witness(request, from),
    members: (id) => {
      const places = [...(deployments.get(id)?.view.places.values() ?? [])];
      return places.flatMap(({ peer, keeper: isKeeper }) => (peer === null ? [] : { peer, keeper: isKeeper }));
    },
    anchors: (id) => deployments.get(id)?.contract.anchors ?? [],
  };
}
