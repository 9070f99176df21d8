/** Looks whether this machine can be dialed elsewhere than before: a new lease, another network, a cable. */
import type { Clock, Timer } from '@moat/core';

/** Milliseconds between two looks; no system tells Node of such a change. */
const LOOK_MS = 5_000;

export interface AddressWatchDeps {
  readonly clock: Clock;
  /** As they are now. */
  readonly addresses: () => readonly string[];
  readonly onChange: () => void;
}

export class AddressWatch {
  readonly #deps: AddressWatchDeps;
  #known = '';
  #timer: Timer | undefined;

  constructor(deps: AddressWatchDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#known = this.#text();
    this.#later();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #later(): void {
    this.#timer = this.#deps.clock.after(LOOK_MS, () => {
      const now = this.#text();
      if (now !== this.#known) {
        this.#known = now;
        this.#deps.onChange();
      }
      this.#later();
    });
  }

  #text(): string {
    return this.#deps.addresses().toSorted().join();
  }
}
