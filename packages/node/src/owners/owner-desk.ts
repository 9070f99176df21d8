/**
 * What owners ask of this machine: proposals and versions, served here where it keeps the deployment, else asked of the
 * keeper that an owner session leads to.
 */
import { MoatError, type Hash, type PeerConnection, type PeerId } from '@moat/core';
import { proposalId, type Proposal } from '@moat/contract';
import type { Overlay, ProposalReport } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import { isKeptHere } from './owner-door.ts';
import type { OwnerSessions } from './owner-sessions.ts';
import type { ProposalBook } from './proposal-book.ts';

const ASK_MS = 45_000;

export interface OwnerDeskDeps {
  readonly self: PeerId;
  readonly overlay: Pick<Overlay, 'keepers'>;
  readonly sessions: OwnerSessions;
  readonly book: ProposalBook;
}

/** What became of a proposal, and who took the version; `by` is null for this machine and while it waits. */
export interface DeskPut {
  readonly report: ProposalReport;
  readonly changed: boolean;
  readonly applied: boolean;
  readonly by: PeerId | null;
}

/** Every method throws `OWNER_SESSION_NEEDED` where this machine is no keeper and no session is open. */
export class OwnerDesk {
  readonly #deps: OwnerDeskDeps;

  constructor(deps: OwnerDeskDeps) {
    this.#deps = deps;
  }

  async list(
    deployment: Deployment,
    signal: AbortSignal,
  ): Promise<{ readonly keeper: PeerId; readonly proposals: readonly ProposalReport[] }> {
    const { self, book, overlay } = this.#deps;
    if (isKeptHere(deployment)) return { keeper: self, proposals: book.list(deployment) };
    return this.#ask(deployment, signal, async (connection, limit) => {
      await this.#follow(deployment, connection, limit);
      return { keeper: connection.peer, proposals: await overlay.keepers.list(connection, deployment.id, limit) };
    });
  }

  /** @throws `PROPOSAL_UNKNOWN` */
  async get(
    deployment: Deployment,
    id: Hash,
    signal: AbortSignal,
  ): Promise<{ readonly report: ProposalReport; readonly proposal: Proposal }> {
    const { book, overlay } = this.#deps;
    if (isKeptHere(deployment)) return book.get(deployment, id);
    const found = await this.#ask(deployment, signal, (connection, limit) =>
      overlay.keepers.get(connection, deployment.id, id, limit),
    );
    if (proposalId(found.proposal) === id) return found;
    throw new MoatError('PROPOSAL_UNKNOWN', 'the keeper gave another proposal than the one asked for');
  }

  /** What was applied is in force here too when it resolves. @throws as `ProposalBook.put` */
  async put(deployment: Deployment, proposal: Proposal, signal: AbortSignal): Promise<DeskPut> {
    const { book, overlay } = this.#deps;
    if (isKeptHere(deployment)) return { ...(await book.put(deployment, proposal, null, signal)), by: null };
    return this.#ask(deployment, signal, async (connection, limit) => {
      const { snapshot, ...outcome } = await overlay.keepers.put(connection, deployment.id, proposal, limit);
      if (!outcome.applied) return { ...outcome, by: null };
      if (snapshot === undefined) await this.#follow(deployment, connection, limit);
      else await this.#deps.sessions.take(connection.peer, deployment.id, snapshot);
      // Said is not signed: it is applied where its version is here.
      const isHere = deployment.contract.version >= proposal.head.version;
      return { ...outcome, applied: isHere, by: isHere ? connection.peer : null };
    });
  }

  /** Applies a proposal that a quorum has signed. @throws `QUORUM_MISSING`, `PROPOSAL_UNKNOWN`, as {@link put} */
  async apply(deployment: Deployment, id: Hash, signal: AbortSignal): Promise<DeskPut> {
    const { report, proposal } = await this.get(deployment, id, signal);
    if (report.state === 'open') {
      throw new MoatError('QUORUM_MISSING', `the proposal has ${report.weight} of ${report.threshold} signatures`, {
        next: [`moat sign ${id}`],
      });
    }
    return this.put(deployment, proposal, signal);
  }

  /** Brings what is held here to what the keeper holds. */
  async #follow(deployment: Deployment, connection: PeerConnection, signal: AbortSignal): Promise<void> {
    const { overlay, sessions } = this.#deps;
    const snapshot = await overlay.keepers.pull(connection, deployment.id, signal);
    await sessions.take(connection.peer, deployment.id, snapshot);
  }

  async #ask<T>(
    deployment: Deployment,
    signal: AbortSignal,
    work: (connection: PeerConnection, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const connection = this.#deps.sessions.connection(deployment);
    const late = new MoatError('DEADLINE_PASSED', 'the keeper does not answer', { retryable: true });
    return work(connection, deadline(ASK_MS, late, signal));
  }
}
