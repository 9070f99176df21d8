/** A keeper's side of owners, kept in memory: proofs are verified as an agent would, proposals only stored. */
import { MoatError, type DeploymentId, type Hash, type PeerId } from '@moat/core';
import { ownerSetOf, proposalId, verifyOwnerProof, type Proposal, type SignedReceipt } from '@moat/contract';
import type { OwnersView, ProposalReport } from '@moat/overlay';
import type { TestView } from './world.fixture.ts';

export class TestOwners implements OwnersView {
  readonly waiting: Map<Hash, Proposal> = new Map();
  readonly known: SignedReceipt[] = [];
  readonly taken: Hash[] = [];
  readonly #view: TestView;
  readonly #self: PeerId;

  constructor(view: TestView, self: PeerId) {
    this.#view = view;
    this.#self = self;
  }

  async proveOwner(signed: Parameters<OwnersView['proveOwner']>[0], from: PeerId): Promise<string | null> {
    const { deployment } = signed.proof;
    const held = this.#view.held.get(deployment);
    if (held === undefined) return null;
    try {
      const owners = ownerSetOf(held.contract.owners);
      return verifyOwnerProof(signed, { deployment, dialer: from, keeper: this.#self, owners, now: Date.now() });
    } catch {
      return null;
    }
  }

  isOwner(deployment: DeploymentId, owner: string): boolean {
    return this.#view.held.get(deployment)?.contract.owners.keys.some(({ key }) => key === owner) === true;
  }

  isFellowKeeper(deployment: DeploymentId, peer: PeerId): boolean {
    return this.keeps(deployment) && this.isKeeper(deployment, peer);
  }

  isKeeper(deployment: DeploymentId, peer: PeerId): boolean {
    return (
      peer !== this.#self && this.#view.members(deployment).some((member) => member.keeper && member.peer === peer)
    );
  }

  keeps(deployment: DeploymentId): boolean {
    return this.#view.members(deployment).some(({ keeper, peer }) => keeper && peer === this.#self);
  }

  snapshot(deployment: DeploymentId): ReturnType<OwnersView['snapshot']> {
    const held = this.#view.held.get(deployment);
    if (held === undefined) throw new MoatError('DEPLOYMENT_UNKNOWN', 'not here');
    return { proof: held.proof, contract: held.bytes, claims: this.#view.claims(deployment), keepers: [] };
  }

  proposals(): readonly ProposalReport[] {
    return [...this.waiting.values()].map(reportOf);
  }

  proposal(_: DeploymentId, id: Hash): { readonly report: ProposalReport; readonly proposal: Proposal } {
    const proposal = this.waiting.get(id);
    if (proposal === undefined) throw new MoatError('PROPOSAL_UNKNOWN', 'not here');
    return { report: reportOf(proposal), proposal };
  }

  async put(_: DeploymentId, proposal: Proposal): ReturnType<OwnersView['put']> {
    this.waiting.set(proposalId(proposal), proposal);
    return { report: reportOf(proposal), changed: true, applied: false };
  }

  async take(_: DeploymentId, { proof }: Parameters<OwnersView['take']>[1]): ReturnType<OwnersView['take']> {
    this.taken.push(proof.newest.head.contract);
    return { taken: true, keeper: this.#self };
  }

  acceptReceipt(_: PeerId, receipt: SignedReceipt): boolean {
    const isNew = !this.known.some(({ signature }) => signature === receipt.signature);
    if (isNew) this.known.push(receipt);
    return isNew;
  }

  receipts(): readonly SignedReceipt[] {
    return this.known;
  }
}

function reportOf(proposal: Proposal): ProposalReport {
  return {
    id: proposalId(proposal),
    version: proposal.head.version,
    previous: proposal.head.previous ?? '',
    state: 'open',
    signers: proposal.signatures.map(({ key }) => key),
    missing: [],
    weight: 1,
    threshold: 2,
    newOwners: null,
    bytes: 1,
    receivedAt: 1,
  };
}
