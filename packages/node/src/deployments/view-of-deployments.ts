/** What the overlay may ask about deployments, answered from memory. */
import type { DeploymentId, PeerId } from '@moat/core';
import { contractBytes, headHash } from '@moat/contract';
import type { DeploymentView } from '@moat/overlay';
import type { DeploymentStore } from '../store/deployment-store.ts';
import { Deltas } from './deltas.ts';
import type { Deployment } from './deployment.ts';
import type { Deployments } from './deployments.ts';
import type { Keeper } from './keeper.ts';

export interface ViewDeps {
  readonly self: PeerId;
  readonly deployments: Deployments;
  readonly keeper: Keeper;
  readonly store: DeploymentStore;
  /** Held for an owner: without a place here nobody is to be met over it. */
  readonly isGuest: (deployment: DeploymentId) => boolean;
}

/** The overlay's port over this node's deployments. */
export function viewOfDeployments({ self, deployments, keeper, store, isGuest }: ViewDeps): DeploymentView {
  const deltas = new Deltas(store);
  const met = (): readonly Deployment[] =>
    deployments.list().filter(({ id, place }) => place !== undefined || !isGuest(id));
  return {
    deployments: () => met().map(({ id }) => id),
    sharedWith: (peer) =>
      met()
        .filter(({ audience }) => peer !== self && audience.has(peer))
        .map(({ id }) => id),
    proof: (id) => deployments.get(id)?.proof,
    expects: (id) => deployments.expects(id),
    ownClaim: (id) => {
      const place = deployments.get(id)?.place;
      return place?.state === 'claimed' ? place.claim : undefined;
    },
    claims: (id) => deployments.get(id)?.currentClaims ?? [],
    forks: (id) =>
      (deployments.get(id)?.forks.list() ?? []).flatMap((fork) => (fork.contract === null ? [] : fork.proof)),
    contract: (id, version, head) => {
      const deployment = deployments.get(id);
      if (deployment === undefined) return undefined;
      // What every member asks for in the same second is here.
      const isPinned = version === deployment.contract.version && (head ?? deployment.head) === deployment.head;
      if (isPinned) return contractBytes(deployment.contract);
      const branch = head === undefined ? undefined : deployment.forks.contract(head);
      if (branch !== undefined) return branch;
      const stored = store.version(id, version);
      return head === undefined || (stored !== undefined && headHash(stored.signed.head) === head)
        ? stored?.contract
        : undefined;
    },
    delta: (id, head, since) => {
      const deployment = deployments.get(id);
      return deployment?.head === head ? deltas.to(deployment.contract, since) : undefined;
    },
    acceptProof: (from, proof, pull) => deployments.offerProof(from, proof, pull),
    notNamed: (from, id) => deployments.get(id)?.takeSilence(from),
    headShown: (from, id, head) => deployments.headShown(from, id, head),
    acceptClaims: (from, id, claims) => Promise.resolve(deployments.offerClaims(from, id, claims)),
    witness: async (request, from) => keeper.witness(request, from),
    members: (id) => {
      const places = [...(deployments.get(id)?.view.places.values() ?? [])];
      return places.flatMap(({ peer, keeper: isKeeper }) => (peer === null ? [] : { peer, keeper: isKeeper }));
    },
    anchors: (id) => deployments.get(id)?.contract.anchors ?? [],
  };
}
