import type { Clock } from '@moat/core';
import { Tally } from './tally.ts';

/** Allows each key something so many times a second. Counts start anew every second, so no key is remembered for longer. */
export class PerSecond {
  readonly #clock: Clock;
  readonly #limit: number;
  #counts = new Tally();
  #second = 0;

  constructor(clock: Clock, limit: number) {
    this.#clock = clock;
    this.#limit = limit;
  }

  allow(key: string): boolean {
    const second = Math.floor(this.#clock.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#counts = new Tally();
    }
    this.#counts.add(key);
    return this.#counts.of(key) <= this.#limit;
  }
}
