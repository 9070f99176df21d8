import { MoatError, type Clock } from '@moat/core';

/** A signal that aborts with `parent` or after a time; `using` cancels the timer. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
}

/** Aborts with `PATH_TIMEOUT` after `delayMs` of `clock` time, or with the reason of `parent`. */
export function createDeadline(clock: Clock, delayMs: number, parent: AbortSignal): Deadline {
  const controller = new AbortController();
  const timer = clock.after(delayMs, () => {
    controller.abort(new MoatError('PATH_TIMEOUT', 'it took too long', { retryable: true, details: { delayMs } }));
  });
  return { signal: AbortSignal.any([controller.signal, parent]), [Symbol.dispose]: () => timer.cancel() };
}

/** The promise, or a rejection with the signal's reason if that comes first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
