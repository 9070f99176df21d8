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

/** Of a link with a gateway, which sends requests only where it believes somebody. */
export const DEFAULT_HEARTBEAT: HeartbeatOptions = { usedMs: 1000, idleMs: 15_000, patience: 5 };

/** Of a link between members, which may be many: a stream that is opened on a dead one finds out in 3 s and waits for another path. */
export const MEMBER_HEARTBEAT: HeartbeatOptions = { ...DEFAULT_HEARTBEAT, idleMs: 90_000 };

/** What a heartbeat needs. */
export interface HeartbeatDeps {
  readonly clock: Clock;
  readonly sendPing: () => void;
  /** No answer for two looks: worth another path, where there is one. */
  readonly onSuspect?: () => void;
  /** Given up; looking goes on for a link that finds another path. */
  readonly onDead: () => void;
  /** Called at every look. */
  readonly onLook: () => void;
}

/** Looks without an answer that make a path suspect. */
const SUSPECT_LOOKS = 2;

/**
 * Finds peers that vanished without closing. Who sends and hears nothing, or heard data and then nothing, asks after
 * `usedMs`, suspects the path after 2 more looks (3 s) and gives up after `patience`: 6 s. Looks are counted, not time, so a laptop that slept is not taken for dead.
 */
export class Heartbeat {
  readonly #deps: HeartbeatDeps;
  readonly #options: HeartbeatOptions;
  #timer: Timer | undefined;
  #slow = true;
  #stopped = false;
  #heard = false;
  /** Something was sent since we last heard the peer. */
  #used = false;
  /** Data of streams arrived since the last look, or just before it. */
  #carried = false;
  #flowed = false;
  /** Looks since the ping that is not answered, or undefined. */
  #asked: number | undefined;

  constructor(deps: HeartbeatDeps, options: HeartbeatOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#arm();
  }

  /** True while questions go unanswered for longer than a path that works takes. */
  get suspect(): boolean {
    return this.#asked !== undefined && this.#asked >= SUSPECT_LOOKS;
  }

  heard(): void {
    this.#heard = true;
    this.#used = false;
  }

  /** Data arrived: silence after it is worth a question. */
  carried(): void {
    this.#carried = true;
    if (this.#slow) this.#arm();
  }

  used(): void {
    this.#used = true;
    if (this.#slow) this.#arm();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#slow = !this.#used && !this.#carried && !this.#flowed && this.#asked === undefined;
    this.#timer = this.#deps.clock.after(this.#slow ? this.#options.idleMs : this.#options.usedMs, () => this.#look());
  }

  #look(): void {
    const wasSlow = this.#slow;
    const flowed = this.#flowed;
    this.#flowed = this.#carried;
    this.#carried = false;
    if (this.#heard) {
      this.#heard = false;
      this.#asked = undefined;
    } else if (this.#asked !== undefined) {
      this.#asked += 1;
      if (this.#asked === SUSPECT_LOOKS) this.#deps.onSuspect?.();
      if (this.#asked >= this.#options.patience) {
        this.#asked = undefined;
        this.#used = false;
        this.#deps.onDead();
        if (this.#stopped) return;
      }
    } else if (this.#used || wasSlow || flowed) {
      this.#asked = 0;
      this.#deps.sendPing();
    }
    this.#arm();
    this.#deps.onLook();
  }
}
