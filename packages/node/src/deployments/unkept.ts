/** News that the disk did not take: peers told it once, and would not tell it again before the next comparison. */
import type { Clock, DeploymentId, Timer } from '@moat/core';

/** Milliseconds until a full disk is tried again. */
const RETRY_MS = 3000;

export interface UnkeptDeps {
  readonly clock: Clock;
  /** Asks peers what they hold, so that they tell again what is missing here. */
  readonly compare: (deployment: DeploymentId) => void;
}

/** Bound: one timer a deployment that is held. */
export class Unkept {
  readonly #deps: UnkeptDeps;
  readonly #timers = new Map<DeploymentId, Timer>();
  #stopped = false;

  constructor(deps: UnkeptDeps) {
    this.#deps = deps;
  }

  /** To call each time the disk refuses something of a deployment. */
  refused(deployment: DeploymentId): void {
    if (this.#stopped || this.#timers.has(deployment)) return;
    const timer = this.#deps.clock.after(RETRY_MS, () => {
      this.#timers.delete(deployment);
      this.#deps.compare(deployment);
    });
    this.#timers.set(deployment, timer);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }
}
