import { MoatError, type Clock } from '@moat/core';

/**
 * A signal for one piece of work: aborts after `ms`, or with `parent`. Disposing it takes the listener off
 * `parent` and stops the timer, so that a long-lived signal never gathers listeners.
 */
export class Deadline implements Disposable {
  readonly signal: AbortSignal;
  readonly #end: () => void;

  constructor(clock: Clock, ms: number, parent?: AbortSignal) {
    const controller = new AbortController();
    const timer = clock.after(ms, () =>
      controller.abort(new MoatError('DEADLINE_PASSED', `no answer in ${ms} ms`, { retryable: true })),
    );
    const onParent = (): void => controller.abort(parent?.reason);
    if (parent?.aborted === true) onParent();
    parent?.addEventListener('abort', onParent);
    this.signal = controller.signal;
    this.#end = () => {
      timer.cancel();
      parent?.removeEventListener('abort', onParent);
    };
  }

  [Symbol.dispose](): void {
    this.#end();
  }
}

/** What `promise` settles to, or the signal's reason; the listener never outlives the wait. */
export async function raced<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', onAbort);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
