/** Finds paths for links in the background: at once where there is none, now and then where a better one may be. */
import { errorCode } from '@moat/core';
import type { Clock, Logger, Timer } from '@moat/core';

import { LOST_MS } from './channel.resumable.ts';
import type { Session } from './session.ts';

/** Milliseconds before a lost path is sought again; doubles. */
const LOST_MIN_MS = 250;
const LOST_MAX_MS = 4000;
/** The side that did not dial the link leaves the first attempt to the other. */
const SECOND_MS = 500;
/** Milliseconds before a better path is tried for; doubles. At its longest, only for a link that was used meanwhile. */
const BETTER_MIN_MS = 5000;
const BETTER_MAX_MS = 300_000;

export interface SeekerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** True while a link has no path, or one that does not answer. */
  readonly isPathless: (session: Session) => boolean;
  /** True while a better path may be found. */
  readonly mayImprove: (session: Session) => boolean;
  /** Tries every way to the peer. */
  readonly rescue: (session: Session) => Promise<unknown>;
  /** Tries for a direct path. */
  readonly improve: (session: Session) => Promise<unknown>;
}

interface Search {
  timer: Timer | undefined;
  delayMs: number;
}

/** Bound: one timer of each kind a link. Delays vary by a quarter, so that two sides do not keep meeting each other. */
export class Seeker {
  readonly #deps: SeekerDeps;
  readonly #lost = new Map<Session, Search>();
  readonly #better = new Map<Session, Search>();

  constructor(deps: SeekerDeps) {
    this.#deps = deps;
  }

  /** A link has no path any more: tries until it has one, or is over. */
  lost(session: Session): void {
    if (this.#lost.has(session) || session.closed.aborted) return;
    const search: Search = { timer: undefined, delayMs: LOST_MIN_MS };
    this.#lost.set(session, search);
    const attempt = async (): Promise<void> => {
      if (!this.#goesOn(session) || !this.#deps.isPathless(session)) return this.#stop(this.#lost, session);
      try {
        await this.#deps.rescue(session);
      } catch (error) {
        this.#deps.logger.debug({ peer: session.peer, code: errorCode(error) }, 'no other path yet');
      }
      if (!this.#goesOn(session) || !this.#deps.isPathless(session)) return this.#stop(this.#lost, session);
      this.#later(search, Math.min(LOST_MAX_MS, LOST_MS), attempt);
    };
    if (session.dialer) void attempt();
    else search.timer = this.#deps.clock.after(SECOND_MS, () => void attempt());
  }

  /** A link stands, or goes on over another path. */
  stands(session: Session): void {
    this.#stop(this.#better, session);
    if (!this.#goesOn(session) || !this.#deps.mayImprove(session)) return;
    const search: Search = { timer: undefined, delayMs: BETTER_MIN_MS };
    this.#better.set(session, search);
    let opened = -1;
    const attempt = async (): Promise<void> => {
      if (!this.#goesOn(session)) return this.#stop(this.#better, session);
      // An attempt costs each side some 5 KiB: 3 MB a day for a link that nobody uses.
      const isIdle = session.openStreams === 0 && session.openedStreams === opened;
      if (isIdle && search.delayMs === BETTER_MAX_MS) return this.#later(search, BETTER_MAX_MS, attempt);
      opened = session.openedStreams;
      try {
        await this.#deps.improve(session);
      } catch (error) {
        this.#deps.logger.debug({ peer: session.peer, code: errorCode(error) }, 'the link stays as it is');
      }
      // What improved it called `stands` again.
      if (this.#better.get(session) !== search) return;
      if (!this.#goesOn(session)) return this.#stop(this.#better, session);
      this.#later(search, BETTER_MAX_MS, attempt);
    };
    this.#later(search, BETTER_MAX_MS, attempt);
  }

  forget(session: Session): void {
    this.#stop(this.#lost, session);
    this.#stop(this.#better, session);
  }

  stop(): void {
    for (const searches of [this.#lost, this.#better]) {
      for (const session of searches.keys()) this.#stop(searches, session);
    }
  }

  #goesOn(session: Session): boolean {
    return session.movable;
  }

  #later(search: Search, maxMs: number, attempt: () => Promise<void>): void {
    const delayMs = search.delayMs * (0.75 + Math.random() / 2);
    search.delayMs = Math.min(maxMs, search.delayMs * 2);
    search.timer = this.#deps.clock.after(delayMs, () => void attempt());
  }

  #stop(searches: Map<Session, Search>, session: Session): void {
    searches.get(session)?.timer?.cancel();
    searches.delete(session);
  }
}
