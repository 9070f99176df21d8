/** Peers that somebody asked to keep a connection to. */
import type { Clock, PeerConnection } from '@moat/core';
import { Deadline } from './deadline.ts';
import type { Dialer } from './dialer.ts';
import type { KeptGoal } from './goals.ts';
import type { KeptPeer } from './overlay.ts';

export interface KeptDeps {
  readonly clock: Clock;
  readonly dialer: Pick<Dialer, 'dial' | 'prefer'>;
  /** The goals are others now. */
  onChanged(): void;
}

/** Bound: as many as there are callers. */
export class Kept {
  readonly #deps: KeptDeps;
  /** Milliseconds one attempt may take. */
  readonly #attemptMs: number;
  readonly #goals = new Set<KeptGoal>();
  #count = 0;

  constructor(deps: KeptDeps, attemptMs: number) {
    this.#deps = deps;
    this.#attemptMs = attemptMs;
  }

  goals(): readonly KeptGoal[] {
    return [...this.#goals];
  }

  keep(target: KeptPeer): () => void {
    const { clock, dialer } = this.#deps;
    const forget = dialer.prefer(target.peer, target.addresses);
    this.#count += 1;
    // a connection that stood before, such as a reservation's, is told of too
    let told: PeerConnection | undefined;
    const goal: KeptGoal = {
      key: `kept ${this.#count}`,
      peer: target.peer,
      isMet: () => told?.closed.aborted === false,
      attempt: async (signal) => {
        using deadline = new Deadline(clock, this.#attemptMs, signal);
        told = await dialer.dial(target.addresses, deadline.signal);
        target.onConnection(told);
      },
    };
    this.#goals.add(goal);
    this.#deps.onChanged();
    return () => {
      forget();
      this.#goals.delete(goal);
      this.#deps.onChanged();
    };
  }
}
