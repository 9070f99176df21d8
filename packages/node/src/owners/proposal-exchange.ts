/**
 * Proposals between the keepers of a deployment: what is new here is left at the others, and on each connection, and
 * after each version, what they have and we lack is taken from them. So any keeper that an owner reaches will do.
 */
import { MoatError, errorCode, type DeploymentId, type Logger, type PeerConnection, type PeerId } from '@moat/core';
import type { Proposal } from '@moat/contract';
import type { Overlay, ProposalReport } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import { isKeptHere } from './owner-door.ts';
import type { ProposalBook } from './proposal-book.ts';

const EXCHANGE_MS = 30_000;

export interface ProposalExchangeDeps {
  readonly deployments: Deployments;
  readonly book: () => ProposalBook;
  readonly overlay: Pick<Overlay, 'connections' | 'keepers'>;
  readonly logger: Logger;
}

/** Bound: one exchange at a time with each keeper of each deployment, and one more after it. */
export class ProposalExchange {
  readonly #deps: ProposalExchangeDeps;
  readonly #stopped = new AbortController();
  readonly #running = new Map<string, { again: boolean }>();

  constructor(deps: ProposalExchangeDeps) {
    this.#deps = deps;
  }

  /** Leaves a proposal at every other keeper in reach. */
  spread(id: DeploymentId, proposal: Proposal, from: PeerId | null): void {
    const deployment = this.#deps.deployments.get(id);
    if (deployment === undefined) return;
    for (const connection of this.#fellows(deployment)) {
      if (connection.peer === from) continue;
      void this.#quietly(connection, deployment, (signal) =>
        this.#deps.overlay.keepers.put(connection, id, proposal, signal),
      );
    }
  }

  /** A connection was admitted: where its peer is a fellow keeper, takes what it has and we lack. */
  meet(connection: PeerConnection): void {
    for (const deployment of this.#deps.deployments.list()) {
      if (isKeptHere(deployment) && deployment.isKeeper(connection.peer)) void this.#compare(connection, deployment);
    }
  }

  /** A version is in force: what was too new before may be taken now. */
  review(deployment: Deployment): void {
    for (const connection of this.#fellows(deployment)) void this.#compare(connection, deployment);
  }

  stop(): void {
    this.#stopped.abort(new Error('the agent stops'));
  }

  async #compare(connection: PeerConnection, deployment: Deployment): Promise<void> {
    const key = `${deployment.id} ${connection.peer}`;
    const running = this.#running.get(key);
    if (running !== undefined) {
      running.again = true;
      return;
    }
    const state = { again: false };
    this.#running.set(key, state);
    try {
      do {
        state.again = false;
        await this.#quietly(connection, deployment, (signal) => this.#takeFrom(connection, deployment, signal));
      } while (state.again);
    } finally {
      this.#running.delete(key);
    }
  }

  async #takeFrom(connection: PeerConnection, deployment: Deployment, signal: AbortSignal): Promise<void> {
    const { overlay, book } = this.#deps;
    const ours = new Map(
      book()
        .list(deployment)
        .map((report) => [report.id, report]),
    );
    const theirs = await overlay.keepers.list(connection, deployment.id, signal);
    for (const report of theirs) {
      if (report.previous !== deployment.head || !isNews(report, ours.get(report.id))) continue;
      const { proposal } = await overlay.keepers.get(connection, deployment.id, report.id, signal);
      await book().put(deployment, proposal, connection.peer, signal);
    }
  }

  async #quietly(
    connection: PeerConnection,
    { id }: Deployment,
    work: (signal: AbortSignal) => Promise<unknown>,
  ): Promise<void> {
    const late = new MoatError('DEADLINE_PASSED', 'the other keeper does not answer', { retryable: true });
    try {
      await work(deadline(EXCHANGE_MS, late, connection.closed, this.#stopped.signal));
    } catch (error) {
      this.#deps.logger.debug(
        { component: 'node.proposals', peer: connection.peer, deployment: id, code: errorCode(error), err: error },
        'proposals not exchanged',
      );
    }
  }

  #fellows(deployment: Deployment): PeerConnection[] {
    if (!isKeptHere(deployment)) return [];
    return deployment.view.keepers().flatMap(({ peer }) => {
      if (peer === null || !deployment.isKeeper(peer)) return [];
      return this.#deps.overlay.connections(peer).slice(0, 1);
    });
  }
}

function isNews(theirs: ProposalReport, ours: ProposalReport | undefined): boolean {
  return ours === undefined || theirs.signers.some((signer) => !ours.signers.includes(signer));
}
