/**
 * Keeps what must stay: connections to two keepers of each deployment, reservations at two anchors, the peers
 * somebody asked to keep. It tries for ever, each peer with its own capped, jittered backoff. libp2p's own
 * reconnecting is not used: after five attempts it deletes the tag and gives up.
 */
import { errorCode, type Clock, type Logger, type PeerId, type Timer } from '@moat/core';

/** Something to keep true for `want` of the candidates, in order of preference. */
export interface Goal {
  /** No other goal has it. */
  readonly key: string;
  readonly candidates: readonly PeerId[];
  readonly want: number;
  /** Attempts of this goal at a time. @defaultValue as many as there is room for */
  readonly atOnce?: number;
  isMet(peer: PeerId): boolean;
  /** Makes it true for one candidate, or rejects. */
  attempt(peer: PeerId, signal: AbortSignal): Promise<void>;
}

export interface SupervisorDeps {
  readonly logger: Logger;
  readonly clock: Clock;
}

export interface SupervisorOptions {
  /** Milliseconds before the second attempt. */
  readonly minMs: number;
  /** Milliseconds between attempts at most. */
  readonly maxMs: number;
}

/** Attempts at once; the rest wait for their turn. */
const MAX_RUNNING = 16;
/**
 * Whoever was lost is most often back within seconds: so many attempts wait no longer than this, together about 20 s. Behind
 * that the wait doubles.
 */
const SOON_MS = 2_000;
const SOON_ATTEMPTS = 14;
/** Milliseconds between two forgivings of one peer: anyone on the local network can announce anybody. */
const FORGIVE_MS = 1000;

interface Attempts {
  failures: number;
  /** Times in a row that it was reached and did not last. */
  flaps: number;
  reachedAt: number;
  forgivenAt: number;
  notBefore: number;
  running: boolean;
}

/** Bound: one record for each candidate of a goal that was ever tried. */
export class Supervisor {
  readonly #deps: SupervisorDeps;
  readonly #options: SupervisorOptions;
  #goals: readonly Goal[] = [];
  /** By key of the goal and peer. */
  readonly #attempts = new Map<string, Map<PeerId, Attempts>>();
  #running = 0;
  #timer: Timer | undefined;
  #stopped = new AbortController();
  #woken = false;

  constructor(deps: SupervisorDeps, options: SupervisorOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#stopped.abort();
  }

  start(): void {
    this.#stopped = new AbortController();
    this.wake();
  }

  stop(): void {
    this.#stopped.abort(new Error('the overlay stops'));
    this.#timer?.cancel();
  }

  setGoals(goals: readonly Goal[]): void {
    this.#goals = goals;
    const candidates = new Map(goals.map((goal) => [goal.key, new Set(goal.candidates)]));
    for (const [key, tried] of this.#attempts) {
      for (const peer of tried.keys()) if (candidates.get(key)?.has(peer) !== true) tried.delete(peer);
      if (tried.size === 0) this.#attempts.delete(key);
    }
    this.wake();
  }

  /** Looks again soon: something was lost, found or changed. */
  wake(): void {
    if (this.#woken || this.#stopped.signal.aborted) return;
    this.#woken = true;
    setImmediate(() => {
      this.#woken = false;
      if (!this.#stopped.signal.aborted) this.#look();
    });
  }

  /** A peer was heard of: no reason to wait any longer. */
  forgive(peer: PeerId): void {
    const now = this.#deps.clock.now();
    for (const goal of this.#goals) {
      const attempts = this.#attempts.get(goal.key)?.get(peer);
      if (attempts === undefined || Math.abs(now - attempts.forgivenAt) < FORGIVE_MS) continue;
      attempts.forgivenAt = now;
      attempts.notBefore = 0;
    }
    this.wake();
  }

  #look(): void {
    this.#timer?.cancel();
    const now = this.#deps.clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const goal of this.#goals) {
      // A keeper looks at all its members whenever one comes or goes: each is asked for once, and who is there has no record.
      const tried = this.#attempts.get(goal.key);
      const idle = goal.candidates.filter((peer) => tried?.get(peer)?.running !== true);
      const unmet = idle.filter((peer) => !goal.isMet(peer));
      const running = goal.candidates.length - idle.length;
      let lacking = Math.min(goal.want - (idle.length - unmet.length), goal.atOnce ?? Infinity) - running;
      for (const peer of unmet) {
        if (lacking <= 0) break;
        const attempts = this.#record(goal, peer);
        if (attempts.running) continue;
        // a clock that was set back does not make it wait longer
        attempts.notBefore = Math.min(attempts.notBefore, now + this.#options.maxMs);
        if (attempts.notBefore > now || this.#running >= MAX_RUNNING) {
          next = Math.min(next, Math.max(attempts.notBefore, now + 50));
          continue;
        }
        lacking -= 1;
        void this.#try(goal, peer, attempts);
      }
    }
    if (next !== Number.POSITIVE_INFINITY) this.#timer = this.#deps.clock.after(next - now, () => this.wake());
  }

  async #try(goal: Goal, peer: PeerId, attempts: Attempts): Promise<void> {
    attempts.running = true;
    this.#running += 1;
    try {
      await goal.attempt(peer, this.#stopped.signal);
      // a peer that lets us in and closes is not dialed in a tight loop either
      const now = this.#deps.clock.now();
      attempts.flaps = now - attempts.reachedAt < 2 * this.#options.maxMs ? attempts.flaps + 1 : 0;
      attempts.reachedAt = now;
      attempts.notBefore = now + this.#delay(attempts.flaps);
      attempts.failures = 0;
      this.#forgiveFailures(peer);
    } catch (error) {
      attempts.notBefore = this.#deps.clock.now() + this.#patience(attempts.failures);
      attempts.failures += 1;
      this.#deps.logger.debug(
        { goal: goal.key, peer, attempt: attempts.failures, code: errorCode(error), err: error },
        'not reached',
      );
    } finally {
      attempts.running = false;
      this.#running -= 1;
      this.wake();
    }
  }

  /** Who was reached for one goal is there for all; only once for each, as it may close at once. */
  #forgiveFailures(peer: PeerId): void {
    for (const goal of this.#goals) {
      const attempts = this.#attempts.get(goal.key)?.get(peer);
      if (attempts === undefined || attempts.failures === 0) continue;
      attempts.failures = 0;
      attempts.notBefore = 0;
    }
  }

  #patience(failures: number): number {
    if (failures >= SOON_ATTEMPTS) return this.#delay(failures - SOON_ATTEMPTS + 3);
    return Math.min(this.#delay(failures), SOON_MS * (0.5 + Math.random() / 2));
  }

  #delay(steps: number): number {
    const { minMs, maxMs } = this.#options;
    return Math.min(maxMs, minMs * 2 ** Math.min(steps, 30)) * (0.5 + Math.random() / 2);
  }

  #record(goal: Goal, peer: PeerId): Attempts {
    let tried = this.#attempts.get(goal.key);
    if (tried === undefined) this.#attempts.set(goal.key, (tried = new Map()));
    const known = tried.get(peer);
    if (known !== undefined) return known;
    const attempts: Attempts = {
      failures: 0,
      flaps: 0,
      reachedAt: Number.NEGATIVE_INFINITY,
      forgivenAt: Number.NEGATIVE_INFINITY,
      notBefore: 0,
      running: false,
    };
    tried.set(peer, attempts);
    return attempts;
  }
}
