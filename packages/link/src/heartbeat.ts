import type { Clock, Timer } from '@moat/core';

/** When a silent peer is asked, and when it is given up. */
export interface HeartbeatOptions {
  /** Milliseconds between looks while the link is used. @defaultValue 1000 */
  readonly usedMs: number;
  /** Milliseconds between pings while it is idle. @defaultValue 15000 */
  readonly idleMs: number;
  /** Looks without an answer before the peer counts as dead. @defaultValue 5 */
  readonly patience: number;
}

export const DEFAULT_HEARTBEAT: HeartbeatOptions = { usedMs: 1000, idleMs: 15_000, patience: 5 };

/** What a heartbeat needs. */
export interface HeartbeatDeps {
  readonly clock: Clock;
  readonly sendPing: () => void;
  readonly onDead: () => void;
  /** Called at every look. */
  readonly onLook: () => void;
}

/**
 * Finds peers that vanished without closing. Who sends and hears nothing asks after `usedMs` and gives up after
 * `patience` more looks: 6 s. Looks are counted, not time, so a laptop that slept is not taken for dead.
 */
export class Heartbeat {
  readonly #deps: HeartbeatDeps;
  readonly #options: HeartbeatOptions;
  #timer: Timer | undefined;
  #slow = true;
  #heard = false;
  /** Something was sent since we last heard the peer. */
  #used = false;
  /** Looks since the ping that is not answered, or undefined. */
  #asked: number | undefined;

  constructor(deps: HeartbeatDeps, options: HeartbeatOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#arm();
  }

  heard(): void {
    this.#heard = true;
    this.#used = false;
  }

  used(): void {
    this.#used = true;
    if (this.#slow) this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#slow = !this.#used && this.#asked === undefined;
    this.#timer = this.#deps.clock.after(this.#slow ? this.#options.idleMs : this.#options.usedMs, () => this.#look());
  }

  #look(): void {
    const wasSlow = this.#slow;
    if (this.#heard) {
      this.#heard = false;
      this.#asked = undefined;
    } else if (this.#asked !== undefined) {
      this.#asked += 1;
      if (this.#asked >= this.#options.patience) return this.#deps.onDead();
    } else if (this.#used || wasSlow) {
      this.#asked = 0;
      this.#deps.sendPing();
    }
    this.#arm();
    this.#deps.onLook();
  }
}
