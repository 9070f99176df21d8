/**
 * In which order the keepers take a version. Whoever applies shows it to the pinned keepers in the order of their
 * names; the first that answers takes one head a version, and only then it is taken here and told to everybody. A
 * keeper that an owner or a member asks goes by the same order itself, so it matters little which one is asked. A
 * keeper can withhold its answer, not forbid a version: it refuses one only by showing another that the owners signed.
 */
import { MoatError, errorCode, isMoatError, type Logger, type PeerConnection, type PeerId } from '@moat/core';
import { compareProof, headHash, verifyProof, type HeadProof } from '@moat/contract';
import type { KeeperCalls, ShownVersion, TakeAnswer } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import { isKeptHere } from './owner-door.ts';
import { checkShown, conflictOf, shownVersions, takeVersion, type SignedVersion } from './signed-version.ts';

/** Milliseconds to reach one keeper, and for its answer. */
const REACH_MS = 3000;
const ANSWER_MS = 15_000;
/** Milliseconds for all keepers together. */
const ALL_MS = 40_000;

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

/** Who took it first, null for this machine; or what stands against it. */
type Outcome =
  { readonly taken: true; readonly keeper: PeerId | null } | { readonly taken: false; readonly proof: HeadProof };

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
    const outcome = await this.#take(deployment, shown, options);
    if (outcome.taken) return outcome.keeper;
    throw conflictOf(deployment, outcome.proof.newest.head.version);
  }

  /** A keeper's side: of a fellow keeper it is taken at once, for anybody else in order. @throws as {@link apply} */
  async takeFrom(
    deployment: Deployment,
    version: ShownVersion,
    from: PeerId,
    signal: AbortSignal,
  ): Promise<TakeAnswer> {
    const { self, deployments } = this.#deps;
    try {
      if (deployment.isKeeper(from)) {
        takeVersion(deployments, deployment, version, from);
        return { taken: true, keeper: self };
      }
      if (headHash(version.proof.newest.head) === deployment.head) return { taken: true, keeper: self };
      // Before other keepers are asked: what strangers to the quorum bring bothers nobody else.
      checkShown(deployment, version);
      const outcome = await this.#take(deployment, [version], { signal });
      return outcome.taken ? { taken: true, keeper: outcome.keeper ?? self } : outcome;
    } catch (error) {
      if (isMoatError(error, 'VERSION_CONFLICT')) return { taken: false, proof: deployment.proof };
      throw error;
    }
  }

  async #take(
    deployment: Deployment,
    shown: readonly ShownVersion[],
    { offline = false, signal }: ApplyOptions,
  ): Promise<Outcome> {
    const keepers = this.#keepersBefore(deployment);
    const late = new MoatError('DEADLINE_PASSED', 'the keepers do not answer', { retryable: true });
    const limit = keepers.length === 0 ? signal : deadline(ALL_MS, late, signal);
    const base = deployment.proof;
    // All are dialed at once; they are asked one after the other.
    const reached = keepers.map((keeper) => ({ keeper, connection: this.#reach(deployment, keeper, limit) }));
    let cause: unknown;
    for (const { keeper, connection } of reached) {
      let answer: TakeAnswer | undefined;
      try {
        answer = await this.#ask(deployment, await connection, shown, limit);
      } catch (error) {
        signal.throwIfAborted();
        this.#noAnswer(deployment, keeper, error);
        cause = error;
        continue;
      }
      if (answer.taken) {
        this.#takeHere(deployment, shown, keeper);
        return { taken: true, keeper };
      }
      if (isSignedBeside(base, answer.proof)) return answer;
      cause = new MoatError('VERSION_CONFLICT', 'a keeper refused without showing another version');
      this.#noAnswer(deployment, keeper, cause);
    }
    if (!isKeptHere(deployment) && !offline) throw unreachable(deployment, cause);
    if (deployment.place === undefined) {
      throw new MoatError(
        'NOT_A_MEMBER',
        `this machine has no place in ${deployment.contract.name}: a keeper has to take it`,
      );
    }
    this.#takeHere(deployment, shown, this.#deps.self);
    return { taken: true, keeper: null };
  }

  async #ask(
    { id }: Deployment,
    connection: PeerConnection,
    shown: readonly ShownVersion[],
    signal: AbortSignal,
  ): Promise<TakeAnswer> {
    const late = new MoatError('DEADLINE_PASSED', 'the keeper does not answer', { retryable: true });
    let answer: TakeAnswer = { taken: true, keeper: connection.peer };
    for (const version of shown) {
      answer = await this.#deps.keepers.take(connection, id, version, deadline(ANSWER_MS, late, signal));
      // It says no and shows the very version it was shown: it has it.
      if (!answer.taken && headHash(answer.proof.newest.head) === headHash(version.proof.newest.head)) {
        answer = { taken: true, keeper: connection.peer };
      }
      if (!answer.taken) return answer;
    }
    return answer;
  }

  #noAnswer({ id }: Deployment, peer: PeerId, error: unknown): void {
    const fields = { component: 'node.apply', deployment: id, peer, code: errorCode(error), err: error };
    this.#deps.logger.info(fields, 'keeper did not answer');
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

/** True for a version after or beside what was held, signed by owners who could; nothing else decides anything. */
function isSignedBeside(held: HeadProof, shown: HeadProof): boolean {
  try {
    const { deployment } = verifyProof(shown);
    if (deployment !== held.newest.head.deployment) return false;
    return ['next', 'newer', 'fork'].includes(compareProof(held, shown));
  } catch (error) {
    if (isMoatError(error)) return false;
    throw error;
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
