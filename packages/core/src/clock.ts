/** A cancellable timer. */
export interface Timer {
  cancel(): void;
  /** Keeps the process alive until the timer fires or is cancelled; clocks of tests need none. */
  hold?(): void;
}

/** Time as a dependency: tests step it, processes take {@link systemClock}. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Runs `callback` once after `delayMs`; the timer does not keep the process alive. */
  after(delayMs: number, callback: () => void): Timer;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, callback) {
    const timeout = setTimeout(callback, delayMs);
    timeout.unref();
    return { cancel: () => clearTimeout(timeout), hold: () => timeout.ref() };
  },
};

/** Resolves after `delayMs` of `clock` time; rejects with the signal's reason when aborted first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    timer.hold?.();
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
