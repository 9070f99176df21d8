/** One reader waits here for the next event of its stream. */
export class Wakeup {
  #wake: (() => void) | undefined;

  /** Something happened: the reader looks again. */
  wake(): void {
    this.#wake?.();
  }

  /** Settles at the next event, or with the signal's reason; the listener on `signal` never outlives the wait. */
  async next(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => reject(signal.reason as Error);
    this.#wake = resolve;
    signal.addEventListener('abort', onAbort);
    try {
      await promise;
    } finally {
      this.#wake = undefined;
      signal.removeEventListener('abort', onAbort);
    }
  }
}
