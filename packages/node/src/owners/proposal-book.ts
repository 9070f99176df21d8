/**
 * Proposals that wait at this keeper. What {@link ProposalBook.put} returned from is on disk; a proposal whose version
 * a quorum has signed is applied at once, also after a restart. Bound: {@link MAX_PROPOSALS} a deployment of 1 MiB each,
 * for 30 days; which one makes room is decided by {@link nextToGo}. One that can no longer follow stays listed as stale
 * until the next version.
 */
import { MoatError, errorCode, type DeploymentId, type Hash, type Logger, type PeerId } from '@moat/core';
import {
  canonicalBytes,
  checkProposal,
  mergeProposals,
  proposalId,
  proposalStanding,
  type Proposal,
  type ProposalStanding,
} from '@moat/contract';
import type { ProposalReport, PutOutcome } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';
import type { LocalTime } from '../local-time.ts';
import type { OwnerStore, StoredProposal } from '../store/owner-store.ts';
import { ProposalRates } from './proposal-rates.ts';
import { nextToGo, type Occupant } from './proposal-room.ts';
import { versionsOf, type SignedVersion } from './signed-version.ts';

const KEPT_MS = 30 * 24 * 3_600_000;

export interface ProposalBookDeps {
  readonly store: OwnerStore;
  readonly time: LocalTime;
  readonly logger: Logger;
  /** Takes versions that a quorum has signed, in the order of keepers. */
  readonly apply: (
    deployment: Deployment,
    versions: readonly SignedVersion[],
    signal: AbortSignal,
  ) => Promise<PeerId | null>;
  /** It is new here, or has new signatures: the other keepers are to hear of it. */
  readonly onNews: (deployment: DeploymentId, proposal: Proposal, from: PeerId | null) => void;
}

export class ProposalBook {
  readonly #deps: ProposalBookDeps;
  readonly #waiting = new Map<DeploymentId, Map<Hash, StoredProposal>>();
  readonly #rates = new Map<DeploymentId, ProposalRates>();
  /** Signatures are verified once for each pinned head. */
  readonly #standings = new WeakMap<Proposal, { readonly head: Hash; readonly standing: ProposalStanding }>();

  constructor(deps: ProposalBookDeps) {
    this.#deps = deps;
  }

  /** Oldest first. */
  list(deployment: Deployment): readonly ProposalReport[] {
    this.#expire(deployment.id);
    return [...this.#of(deployment.id).values()].map((stored) => this.#report(deployment, stored));
  }

  /** @throws `PROPOSAL_UNKNOWN` */
  get(deployment: Deployment, id: Hash): { readonly report: ProposalReport; readonly proposal: Proposal } {
    const stored = this.#of(deployment.id).get(id);
    if (stored === undefined) {
      throw new MoatError('PROPOSAL_UNKNOWN', 'no such proposal waits here', { next: ['moat proposals'] });
    }
    return { report: this.#report(deployment, stored), proposal: stored.proposal };
  }

  /**
   * Takes a proposal, or more signatures on one, and applies it when they are enough.
   * @throws `PROPOSAL_STALE`, `PROPOSAL_UNSIGNED`, `PROPOSALS_FULL`, `DISK_FULL`, what `checkProposal` throws, and what
   * applying throws: the proposal waits then.
   */
  async put(deployment: Deployment, shown: Proposal, from: PeerId | null, signal: AbortSignal): Promise<PutOutcome> {
    const id = proposalId(shown);
    if (id === deployment.head) return this.#finish(deployment, shown, signal);
    const { stored, changed } = this.#take(deployment, shown, id);
    if (changed) this.#deps.onNews(deployment.id, stored.proposal, from);
    const report = this.#report(deployment, stored);
    if (report.state !== 'met') return { report, changed, applied: false };
    await this.#deps.apply(deployment, versionsOf(stored.proposal), signal);
    return { report, changed, applied: true };
  }

  /** To call after a version, also of ours: what it was made of goes, what cannot follow it is stale, what was stale goes. */
  review(deployment: Deployment): void {
    const waiting = this.#of(deployment.id);
    const { version } = deployment.contract;
    const gone = [...waiting.values()]
      .filter(
        ({ id, proposal }) =>
          proposal.head.version < version || (id === deployment.head && proposal.seal === undefined),
      )
      .map(({ id }) => id);
    this.#delete(deployment.id, gone);
    for (const { id, proposal } of waiting.values()) {
      const { state } = this.#report(deployment, { id, proposal, bytes: 0, receivedAt: 0 });
      if (state !== 'stale') continue;
      this.#deps.logger.info({ component: 'node.proposals', deployment: deployment.id, version }, 'proposal stale');
    }
  }

  /** Applies what a quorum has signed and a crash, or a keeper out of reach, left undone. Never rejects. */
  async resume(deployment: Deployment, signal: AbortSignal): Promise<void> {
    try {
      for (const { id, proposal } of this.#of(deployment.id).values()) {
        const isMet =
          id === deployment.head ? proposal.seal !== undefined : this.#stateOf(deployment, proposal) === 'met';
        if (isMet) await this.#deps.apply(deployment, versionsOf(proposal), signal);
      }
    } catch (error) {
      const fields = { component: 'node.proposals', deployment: deployment.id, code: errorCode(error), err: error };
      this.#deps.logger.warn(fields, 'proposal not applied');
    }
  }

  /** To call where this machine keeps the deployment no more: nothing waits here any longer. */
  drop(deployment: DeploymentId): void {
    this.#delete(deployment, [...this.#of(deployment).keys()]);
    this.forget(deployment);
  }

  forget(deployment: DeploymentId): void {
    this.#waiting.delete(deployment);
    this.#rates.delete(deployment);
  }

  /** Already in force: nothing to keep, save the seal that may be missing. */
  async #finish(deployment: Deployment, shown: Proposal, signal: AbortSignal): Promise<PutOutcome> {
    const stored = { id: deployment.head, proposal: shown, bytes: 0, receivedAt: deployment.acceptedAt };
    if (shown.seal !== undefined) await this.#deps.apply(deployment, versionsOf(shown), signal);
    return { report: { ...this.#report(deployment, stored), state: 'met' }, changed: false, applied: true };
  }

  #take(
    deployment: Deployment,
    shown: Proposal,
    id: Hash,
  ): { readonly stored: StoredProposal; readonly changed: boolean } {
    const { contract, proof } = deployment;
    this.#expire(deployment.id);
    const waiting = this.#of(deployment.id);
    const known = waiting.get(id);
    const current = { contract, head: proof.newest.head, proof };
    checkProposal(current, proof.genesis, shown);
    const proposal = mergeProposals(known?.proposal ?? shown, shown, current);
    if (known !== undefined && signaturesOf(proposal) === signaturesOf(known.proposal)) {
      return { stored: known, changed: false };
    }
    if (this.#standing(deployment, proposal).weight === 0) {
      throw new MoatError('PROPOSAL_UNSIGNED', 'no owner in force has signed this proposal');
    }
    if (known === undefined) this.#pay(deployment, proposal);
    const receivedAt = known?.receivedAt ?? this.#deps.time.now();
    const stored = { id, proposal, bytes: canonicalBytes(proposal).length, receivedAt };
    const gone = this.#roomFor(deployment, stored);
    this.#deps.store.saveProposal(deployment.id, stored, gone);
    for (const each of gone) waiting.delete(each);
    waiting.set(id, stored);
    this.#deps.logger.info(
      { component: 'node.proposals', deployment: deployment.id, version: proposal.head.version, count: waiting.size },
      known === undefined ? 'proposal taken' : 'proposal signed',
    );
    return { stored, changed: true };
  }

  /** A new proposal is written to disk and passed on to every keeper. @throws `PROPOSALS_FULL` */
  #pay(deployment: Deployment, proposal: Proposal): void {
    const owners = new Set(deployment.contract.owners.keys.map(({ key }) => key));
    const rates = this.#rates.get(deployment.id) ?? new ProposalRates(() => this.#deps.time.now());
    this.#rates.set(deployment.id, rates);
    const signers = this.#standing(deployment, proposal).signers.filter((key) => owners.has(key));
    if (rates.take(signers, owners)) return;
    throw new MoatError('PROPOSALS_FULL', 'too many new proposals at once: wait a minute', { retryable: true });
  }

  /** @throws `PROPOSALS_FULL` when the new one itself would have to go */
  #roomFor(deployment: Deployment, stored: StoredProposal): Hash[] {
    const others = [...this.#of(deployment.id).values()].filter(({ id }) => id !== stored.id);
    const owners = new Set(deployment.contract.owners.keys.map(({ key }) => key));
    const occupant = ({ id, proposal, receivedAt }: StoredProposal): Occupant => ({
      id,
      signers: this.#standing(deployment, proposal).signers.filter((key) => owners.has(key)),
      isStale: this.#stateOf(deployment, proposal) === 'stale',
      receivedAt,
    });
    const id = nextToGo([...others, stored].map(occupant));
    if (id === undefined) return [];
    if (id !== stored.id) return [id];
    throw new MoatError('PROPOSALS_FULL', 'this keeper holds as many proposals as it can', { retryable: true });
  }

  #report(deployment: Deployment, { id, proposal, bytes, receivedAt }: StoredProposal): ProposalReport {
    const { signers, missing, weight, threshold, newOwners } = this.#standing(deployment, proposal);
    return {
      id,
      version: proposal.head.version,
      previous: proposal.head.previous ?? '',
      state: this.#stateOf(deployment, proposal),
      signers,
      missing,
      weight,
      threshold,
      newOwners: newOwners ?? null,
      bytes,
      receivedAt,
    };
  }

  #stateOf(deployment: Deployment, proposal: Proposal): ProposalReport['state'] {
    if (proposal.head.previous !== deployment.head) return 'stale';
    return this.#standing(deployment, proposal).met ? 'met' : 'open';
  }

  #standing(deployment: Deployment, proposal: Proposal): ProposalStanding {
    const known = this.#standings.get(proposal);
    if (known?.head === deployment.head) return known.standing;
    const { contract, proof } = deployment;
    const current = { contract, head: proof.newest.head, proof };
    const standing = proposalStanding(proposal, current);
    this.#standings.set(proposal, { head: deployment.head, standing });
    return standing;
  }

  #of(deployment: DeploymentId): Map<Hash, StoredProposal> {
    const known = this.#waiting.get(deployment);
    if (known !== undefined) return known;
    const loaded = new Map(this.#deps.store.proposals(deployment).map((stored) => [stored.id, stored]));
    this.#waiting.set(deployment, loaded);
    return loaded;
  }

  #expire(deployment: DeploymentId): void {
    const before = this.#deps.time.now() - KEPT_MS;
    const old = [...this.#of(deployment).values()].filter(({ receivedAt }) => receivedAt < before);
    this.#delete(
      deployment,
      old.map(({ id }) => id),
    );
  }

  /** With a full disk they are gone here all the same; after a restart the next version deletes them again. */
  #delete(deployment: DeploymentId, ids: readonly Hash[]): void {
    for (const id of ids) this.#waiting.get(deployment)?.delete(id);
    try {
      this.#deps.store.deleteProposals(deployment, ids);
    } catch (error) {
      const fields = { component: 'node.proposals', deployment, code: errorCode(error), err: error };
      this.#deps.logger.warn(fields, 'proposals not deleted');
    }
  }
}

function signaturesOf({ signatures, seal }: Proposal): number {
  return signatures.length + (seal?.signatures.length ?? 0);
}
