/**
 * In which order the keepers take a version. Whoever applies shows it to the pinned keepers in the order of their
 * names; the first that answers takes one head a version, and only then it is taken here and told to everybody. A
 * keeper that an owner or a member asks goes by the same order itself, so it matters little which one is asked.
 */
import { MoatError, errorCode, isMoatError, type Logger, type PeerConnection, type PeerId } from '@moat/core';
import { headHash } from '@moat/contract';
import type { KeeperCalls, ShownVersion } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import { isKeptHere } from './owner-door.ts';
import { shownVersions, takeVersion, type SignedVersion } from './signed-version.ts';

/** Milliseconds to reach one keeper, and for its answer. */
const REACH_MS = 3000;
const ANSWER_MS = 15_000;
/** A keeper that answers so did not decide: the next one is asked. */
const NOT_ANSWERED = new Set([
  'PEER_UNREACHABLE',
  'STREAM_ENDED',
  'DEADLINE_PASSED',
  'PROTOCOL_UNSUPPORTED',
  'PROPOSALS_REFUSED',
  'QUEUE_FULL',
  'DISK_FULL',
  'MESSAGE_INVALID',
]);

export interface VersionOrderDeps {
  readonly self: PeerId;
  readonly deployments: Deployments;
  readonly keepers: Pick<KeeperCalls, 'take'>;
  /** A connection on which this machine may apply. @throws `PEER_UNREACHABLE` */
  readonly reach: (deployment: Deployment, keeper: PeerId, signal: AbortSignal) => Promise<PeerConnection>;
  readonly logger: Logger;
}

export interface ApplyOptions {
  /** Take it here although no keeper answers. @defaultValue false */
  readonly offline?: boolean;
  readonly signal: AbortSignal;
}

export class VersionOrder {
  readonly #deps: VersionOrderDeps;

  constructor(deps: VersionOrderDeps) {
    this.#deps = deps;
  }

  /**
   * Brings versions into force that a quorum has signed; they are on disk here when it resolves.
   * @returns the keeper that took them first; null for this machine.
   * @throws `VERSION_CONFLICT`, `NO_KEEPER_REACHABLE`, `NOT_A_MEMBER` for `offline` without a place, and the codes of
   * `checkNextVersion`
   */
  async apply(
    deployment: Deployment,
    versions: readonly SignedVersion[],
    options: ApplyOptions,
  ): Promise<PeerId | null> {
    const shown = shownVersions(deployment, versions);
    if (shown.length === 0) return null;
    return this.#take(deployment, shown, this.#keepersBefore(deployment), options);
  }

  /** A keeper's side: of a fellow keeper it is taken at once, for anybody else in order. @throws as {@link apply} */
  async takeFrom(deployment: Deployment, version: ShownVersion, from: PeerId, signal: AbortSignal): Promise<PeerId> {
    const { self, deployments } = this.#deps;
    if (deployment.isKeeper(from)) {
      takeVersion(deployments, deployment, version, from);
      return self;
    }
    return (await this.#take(deployment, [version], this.#keepersBefore(deployment), { signal })) ?? self;
  }

  async #take(
    deployment: Deployment,
    shown: readonly ShownVersion[],
    keepers: readonly PeerId[],
    { offline = false, signal }: ApplyOptions,
  ): Promise<PeerId | null> {
    const { logger } = this.#deps;
    // All are dialed at once; they are asked one after the other.
    const reached = keepers.map((keeper) => ({ keeper, connection: this.#reach(deployment, keeper, signal) }));
    let cause: unknown;
    for (const { keeper, connection } of reached) {
      try {
        await this.#ask(deployment, await connection, shown, signal);
        this.#takeHere(deployment, shown, keeper);
        return keeper;
      } catch (error) {
        signal.throwIfAborted();
        if (!isMoatError(error) || !NOT_ANSWERED.has(error.code)) throw error;
        const fields = { component: 'node.apply', deployment: deployment.id, peer: keeper, code: errorCode(error) };
        logger.info({ ...fields, err: error }, 'keeper did not answer');
        cause = error;
      }
    }
    if (!isKeptHere(deployment) && !offline) throw unreachable(deployment, cause);
    if (deployment.place === undefined) {
      throw new MoatError(
        'NOT_A_MEMBER',
        `this machine has no place in ${deployment.contract.name}: a keeper has to take it`,
      );
    }
    this.#takeHere(deployment, shown, this.#deps.self);
    return null;
  }

  async #ask(
    { id }: Deployment,
    connection: PeerConnection,
    shown: readonly ShownVersion[],
    signal: AbortSignal,
  ): Promise<void> {
    const late = new MoatError('DEADLINE_PASSED', 'the keeper does not answer', { retryable: true });
    for (const version of shown) {
      await this.#deps.keepers.take(connection, id, version, deadline(ANSWER_MS, late, signal));
    }
  }

  #takeHere(deployment: Deployment, shown: readonly ShownVersion[], from: PeerId): void {
    const { deployments, self } = this.#deps;
    const at = shown.findLastIndex(({ proof }) => headHash(proof.newest.head) === deployment.head);
    for (const version of shown.slice(at + 1)) {
      // The keeper's own news may have been faster, and another version on top of it too.
      const isOvertaken = version.proof.newest.head.version < deployment.contract.version;
      if (from === self || !isOvertaken) takeVersion(deployments, deployment, version, from);
    }
  }

  #reach(deployment: Deployment, keeper: PeerId, signal: AbortSignal): Promise<PeerConnection> {
    const late = new MoatError('PEER_UNREACHABLE', 'the keeper is not in reach', { retryable: true });
    const reaching = this.#deps.reach(deployment, keeper, deadline(REACH_MS, late, signal));
    reaching.catch(() => undefined);
    return reaching;
  }

  /** Pinned keepers by name, up to this machine where it is one of them. */
  #keepersBefore(deployment: Deployment): readonly PeerId[] {
    const { self } = this.#deps;
    const keepers = deployment.view
      .keepers()
      .filter(({ state }) => state === 'pinned')
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap(({ peer }) => peer ?? []);
    const own = keepers.indexOf(self);
    return own < 0 ? keepers : keepers.slice(0, own);
  }
}

function unreachable({ contract }: Deployment, cause: unknown): MoatError<'NO_KEEPER_REACHABLE'> {
  return new MoatError('NO_KEEPER_REACHABLE', `no keeper of ${contract.name} is in reach, so nothing was applied`, {
    cause,
    retryable: true,
    next: [
      'try again when a keeper is up',
      'moat apply --offline takes it here alone; whoever else applies meanwhile makes a fork',
    ],
  });
}
