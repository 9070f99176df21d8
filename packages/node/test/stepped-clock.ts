/** A machine's clock that runs by itself and that a test can set, or let pass at once. */
import { systemClock, type Clock, type Timer } from '@moat/core';

interface Pending {
  readonly due: number;
  readonly fire: () => void;
}

export class SteppedClock implements Clock {
  /** What the wall clock is off by, and what passed without any time going by, in milliseconds. */
  #set = 0;
  #slept = 0;
  readonly #pending = new Set<Pending>();

  now(): number {
    return systemClock.now() + this.#slept + this.#set;
  }

  after(delayMs: number, callback: () => void): Timer {
    const fire = (): void => {
      timer.cancel();
      if (this.#pending.delete(pending)) callback();
    };
    const pending = { due: systemClock.now() + this.#slept + delayMs, fire };
    this.#pending.add(pending);
    const timer = systemClock.after(delayMs, fire);
    return {
      cancel: () => {
        this.#pending.delete(pending);
        timer.cancel();
      },
      hold: () => timer.hold?.(),
    };
  }

  /** Sets the wall clock: timers do not notice. */
  set(byMs: number): void {
    this.#set += byMs;
  }

  /** Time goes by at once: what falls due fires, in order. */
  pass(ms: number): void {
    this.#slept += ms;
    const now = systemClock.now() + this.#slept;
    const due = [...this.#pending].filter((each) => each.due <= now).sort((a, b) => a.due - b.due);
    for (const each of due) each.fire();
  }
}
