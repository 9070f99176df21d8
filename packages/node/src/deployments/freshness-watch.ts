/** Looks when a deployment with `maxStale` turns stale or fresh again, and keeps ages on disk. */
import { errorCode, type Clock, type DeploymentId, type Logger, type PeerId, type Timer } from '@moat/core';
import type { Deployment } from './deployment.ts';
import type { Staleness } from './freshness.ts';

/** A timer stands still while the machine sleeps, and does not follow a clock that is set: looks again after this. */
const LOOK_AGAIN_MS = 30_000;
/** Milliseconds between two writes of one age. A crash makes it older by as much, never younger. */
const WRITE_EVERY_MS = 600_000;

export interface FreshnessWatchDeps {
  readonly time: Clock;
  readonly store: { saveAge(deployment: DeploymentId, ageMs: number, at: number): void };
  readonly logger: Logger;
  readonly deployments: () => readonly Deployment[];
  /** It turned from one to the other; called in the turn in which that is noticed. */
  readonly onTurn: (deployment: Deployment, from: Staleness, to: Staleness) => void;
}

interface Watched {
  told: Staleness;
  timer: Timer | undefined;
  writtenAt: number;
}

/** Bound: one record, and one timer where it has `maxStale`, a deployment. */
export class FreshnessWatch {
  readonly #deps: FreshnessWatchDeps;
  readonly #watched = new Map<DeploymentId, Watched>();
  #stopped = false;

  constructor(deps: FreshnessWatchDeps) {
    this.#deps = deps;
  }

  /** Follows a deployment as it is now: new, in a new version, or with other keepers. */
  watch(deployment: Deployment): void {
    if (this.#stopped) return;
    const watched = this.#watched.get(deployment.id) ?? {
      // Stale from the start is told like any other turn.
      told: 'fresh',
      timer: undefined,
      writtenAt: deployment.freshness.mark.at,
    };
    this.#watched.set(deployment.id, watched);
    // A timer that runs goes on: begun anew with each of many changes, it would never count what passed.
    this.#look(deployment, watched, watched.timer === undefined);
  }

  /**
   * `peer` showed us, on its own connection, the head that we hold. Counts only from another pinned keeper of the
   * version in force: nobody else can keep a partition alive.
   */
  confirmed(deployment: Deployment, peer: PeerId): void {
    if (!deployment.isKeeper(peer) || this.#stopped) return;
    const now = this.#deps.time.now();
    const watched = this.#watched.get(deployment.id);
    const turns = deployment.staleness(now) === 'stale';
    deployment.freshness.confirm(now);
    if (watched === undefined) return;
    this.#save(deployment, watched, turns);
    this.#look(deployment, watched);
  }

  forget(id: DeploymentId): void {
    this.#watched.get(id)?.timer?.cancel();
    this.#watched.delete(id);
  }

  stop(): void {
    this.#stopped = true;
    for (const deployment of this.#deps.deployments()) {
      const watched = this.#watched.get(deployment.id);
      if (watched !== undefined) this.#save(deployment, watched, true);
    }
    for (const id of this.#watched.keys()) this.forget(id);
  }

  #look(deployment: Deployment, watched: Watched, anew = true): void {
    const { time, onTurn } = this.#deps;
    const now = time.now();
    const [from, to] = [watched.told, deployment.staleness(now)];
    watched.told = to;
    if (anew) this.#arm(deployment, watched, now);
    if (from !== to) onTurn(deployment, from, to);
  }

  #arm(deployment: Deployment, watched: Watched, now: number): void {
    watched.timer?.cancel();
    watched.timer = undefined;
    const { freshness, maxStaleMs } = deployment;
    if (maxStaleMs === null) return;
    const age = freshness.age(now);
    const next = [maxStaleMs / 2, maxStaleMs].find((edge) => edge > age) ?? Infinity;
    const delayMs = Math.min(next - age, LOOK_AGAIN_MS);
    watched.timer = this.#deps.time.after(delayMs, () => {
      freshness.passed(delayMs, this.#deps.time.now());
      this.#save(deployment, watched, false);
      this.#look(deployment, watched);
    });
  }

  #save({ id, freshness }: Deployment, watched: Watched, isUrgent: boolean): void {
    const { ageMs, at } = freshness.mark;
    if (at === watched.writtenAt || (!isUrgent && Math.abs(at - watched.writtenAt) < WRITE_EVERY_MS)) return;
    watched.writtenAt = at;
    try {
      this.#deps.store.saveAge(id, ageMs, at);
    } catch (error) {
      // Older than it is after a restart, never younger; the next time is soon.
      const fields = { component: 'node.freshness', deployment: id, code: errorCode(error), err: error };
      this.#deps.logger.warn(fields, 'age not saved');
    }
  }
}
