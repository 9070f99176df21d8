/** What becomes of a head that a quorum signed beside ours. */
import { MoatError, errorCode, type DeploymentId, type Logger, type PeerId } from '@moat/core';
import {
  checkContract,
  compareProof,
  contractMatchesHead,
  headHash,
  parseContract,
  type HeadProof,
} from '@moat/contract';
import type { ProofOutcome, Pull } from '@moat/overlay';
import type { EventFeed } from '../event-feed.ts';
import type { LocalTime } from '../local-time.ts';
import type { DeploymentStore } from '../store/deployment-store.ts';
import { tellAlarms } from './alarms.ts';
import type { Deployment } from './deployment.ts';
import type { Change } from './deployments.ts';
import { Forks, type Fork } from './forks.ts';

export interface ForkIntakeDeps {
  readonly store: Pick<DeploymentStore, 'saveFork'>;
  readonly time: LocalTime;
  readonly logger: Logger;
  readonly feed: EventFeed;
  readonly get: (id: DeploymentId) => Deployment | undefined;
  /** Says that a version was refused. */
  readonly report: (from: PeerId, proof: HeadProof, message: string) => void;
  readonly onChange: (change: Change) => void;
}

/** Bound: the branches that {@link Forks} keeps; of further ones nothing is pulled and nothing stored. */
export class ForkIntake {
  readonly #deps: ForkIntakeDeps;

  constructor(deps: ForkIntakeDeps) {
    this.#deps = deps;
  }

  /**
   * Keeps the other branch, its head at once and then its contract: what either removed is denied from then on.
   * @param proof verified, and a fork beside what `held` has pinned.
   */
  async offer(from: PeerId, held: Deployment, proof: HeadProof, pull: Pull): Promise<ProofOutcome> {
    const { head } = proof.newest;
    const isNews = this.#take(from, held, { proof, contract: null });
    if (!held.forks.takes({ proof, contract: held.contract })) return isNews ? 'forked' : 'refused';
    try {
      const contract = parseContract(await pull());
      checkContract(contract);
      contractMatchesHead(contract, head);
      // Others may have been accepted while the contract was pulled.
      const isFork = this.#deps.get(held.id) === held && compareProof(held.proof, proof) === 'fork';
      return (isFork && this.#take(from, held, { proof, contract })) || isNews ? 'forked' : 'refused';
    } catch (error) {
      // The alarm stands; the next showing of that head asks again.
      const fields = { component: 'node.deployments', peer: from, deployment: held.id, version: head.version };
      this.#deps.logger.warn({ ...fields, code: errorCode(error), err: error }, 'other branch not known whole');
      return isNews ? 'forked' : 'refused';
    }
  }

  /** True when it tells more than was known. */
  #take(from: PeerId, deployment: Deployment, fork: Fork): boolean {
    if (!deployment.forks.takes(fork)) return false;
    const { report, store, time, logger, feed, onChange } = this.#deps;
    const { proof } = fork;
    const isNew = deployment.forks.get(headHash(proof.newest.head)) === undefined;
    if (isNew) report(from, proof, forked(deployment).message);
    const before = deployment.alarms;
    try {
      store.saveFork(fork, new Forks(deployment.forks.list()).put(fork), time.now());
    } catch (error) {
      // It stands in memory all the same; the next showing of that head tries again after a restart.
      logger.error({ component: 'node.deployments', code: errorCode(error), err: error }, 'fork not saved');
    }
    deployment.takeFork(fork, time.now());
    tellAlarms(feed, deployment, before);
    onChange({ deployment: deployment.id, kind: 'fork', from });
    return true;
  }
}

/**
 * True when nothing that stands beside what this deployment has pinned counts any more: the owners of both branches
 * signed an end of the fork, or there is a version on top of a pinned change of owners. Until then those who were
 * replaced can sign beside the change; without this, whoever heard of that first would be stopped for good.
 */
export function endsFork({ successions, newest }: HeadProof, { contract, head: pinned }: Deployment): boolean {
  const isSealed = (): boolean => successions.some(({ head }) => headHash(head) === pinned);
  return (
    successions.some(({ head, merged }) => merged !== undefined && head.version > contract.version) ||
    (newest.head.version > contract.version && isSealed())
  );
}

/**
 * May this deployment go over to another branch, when its operator says so? Only forwards, and never to owners that
 * were replaced, save those of a branch that is known here: at the version where it parted they were in force.
 */
export function mayLeaveFor(proof: HeadProof, { contract, proof: pinned, forks }: Deployment): boolean {
  if (proof.newest.head.version <= contract.version) return false;
  if (compareProof(pinned, proof) !== 'usurped') return true;
  return forks.list().some((fork) => ['same', 'next', 'newer'].includes(compareProof(fork.proof, proof)));
}

/** Why nothing further is taken. */
export function forked(deployment: Deployment): MoatError<'HEAD_FORKED'> {
  return new MoatError(
    'HEAD_FORKED',
    `two versions ${deployment.contract.version} of ${deployment.contract.name} were signed`,
    {
      reason: 'until the owners sign a version that ends the fork, this node keeps what it runs',
      next: [
        'moat apply --end-fork   makes what moat.yaml says the one history',
        'moat join with a newer token, where it has ended',
      ],
      details: { deployment: deployment.id, version: deployment.contract.version },
    },
  );
}
