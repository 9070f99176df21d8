/** When a deployment is to be judged anew by itself: a membership, an invite or a grant ended, or the clock was set. */
import type { Clock, DeploymentId, Timer } from '@moat/core';
import type { ContractView } from '@moat/contract';

/** A timer stands still while the machine sleeps, and does not follow a clock that is set: looks again after this. */
const LOOK_AGAIN_MS = 30_000;

/** A deployment as it was judged last. */
export interface Judged {
  readonly id: DeploymentId;
  readonly view: Pick<ContractView, 'nextExpiry'>;
  /** Milliseconds since 1970. */
  readonly builtAt: number;
}

export interface ExpiryWatchDeps {
  readonly time: Clock;
  /** Called once for each {@link ExpiryWatch.watch}, at most 30 s late where the machine slept or its clock was set. */
  readonly onDue: (id: DeploymentId) => void;
}

/** One timer a deployment that has anything to expire; none for the others. */
export class ExpiryWatch {
  readonly #deps: ExpiryWatchDeps;
  readonly #timers = new Map<DeploymentId, Timer>();

  constructor(deps: ExpiryWatchDeps) {
    this.#deps = deps;
  }

  /** Watches a deployment from now on, as it is judged now. */
  watch({ id, view, builtAt }: Judged): void {
    this.forget(id);
    if (view.nextExpiry(-Infinity) === null) return;
    const next = view.nextExpiry(builtAt) ?? Infinity;
    const { time, onDue } = this.#deps;
    const look = (): void => {
      const leftMs = Math.min(Math.max(next - time.now(), 0), LOOK_AGAIN_MS);
      const timer = time.after(leftMs, () => {
        const now = time.now();
        // Set back: what was judged over may not be over.
        if (now < next && now >= builtAt) return look();
        this.#timers.delete(id);
        onDue(id);
      });
      this.#timers.set(id, timer);
    };
    look();
  }

  forget(id: DeploymentId): void {
    this.#timers.get(id)?.cancel();
    this.#timers.delete(id);
  }

  stop(): void {
    for (const id of this.#timers.keys()) this.forget(id);
  }
}
