/** How often a router is reminded of a path. */

/** Seconds; the next, where a router forgets sooner. RFC 4787 §4.3 asks for two minutes; 30 s are met often, less now and then. */
const LADDER = [25, 20, 15, 10] as const;
/** Milliseconds of silence before a loss that speak of a router that forgot. */
const FORGOTTEN_MS = 8_000;

export class Keepalive {
  #step = 0;
  /** False where no router stands between, or nothing is to be kept. */
  needed = false;

  /** 0 = none. */
  get seconds(): number {
    return this.needed ? (LADDER[this.#step] ?? 0) : 0;
  }

  /** A path was lost after `quietMs` milliseconds in which nothing but keepalives was sent. */
  lost(quietMs: number): void {
    if (this.needed && quietMs >= FORGOTTEN_MS) this.#step = Math.min(this.#step + 1, LADDER.length - 1);
  }

  /** Other routers. */
  reset(): void {
    this.#step = 0;
  }
}
