/** The session at a member that passes our packets on, and those that failed us lately. */
import type { Clock, PeerId } from '@moat/core';

import type { ForwardSession } from '../paths/path-ports.ts';

/** Milliseconds that a forwarder which failed is not asked again. */
const AVOID_MS = 60_000;

/** Bound: one session, and the forwarders of one contract. */
export class HeldForward {
  readonly #clock: Clock;
  readonly #avoided = new Map<PeerId, number>();
  #session: ForwardSession | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `onSilent` is called when the forwarder says no more, while the session is still held. */
  hold(session: ForwardSession, onSilent: () => void): void {
    this.#session = session;
    const silent = (): void => {
      if (this.#session === session) onSilent();
    };
    session.closed.addEventListener('abort', silent, { once: true });
  }

  /** Gives the session back. */
  leave(): void {
    const session = this.#session;
    this.#session = undefined;
    session?.close();
  }

  /** Lets go of the session and leaves it running. */
  forget(): void {
    this.#session = undefined;
  }

  avoid(forwarder: PeerId): void {
    this.#avoided.set(forwarder, this.#clock.now() + AVOID_MS);
  }

  /** Those that did not fail lately. */
  usable(forwarders: readonly PeerId[]): readonly PeerId[] {
    return forwarders.filter((forwarder) => (this.#avoided.get(forwarder) ?? 0) <= this.#clock.now());
  }

  /** Elsewhere they may be of use. */
  forgive(): void {
    this.#avoided.clear();
  }
}
