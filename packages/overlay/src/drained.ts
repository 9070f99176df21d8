import { MoatError } from '@moat/core';
import type { Stream } from '@libp2p/interface';

/**
 * Resolves when at most `bytes` wait unsent in the stream. It listens to the events and looks at the buffer
 * itself, because `stream.onDrain()` resolves at once when only the Yamux window is full.
 * @throws `STREAM_ENDED`, or the signal's reason.
 */
export async function drained(stream: Stream, bytes: number, signal: AbortSignal): Promise<void> {
  if (stream.writeBufferLength <= bytes && isOpen(stream)) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // libp2p goes on sending in a microtask queued by its own listener, which runs before ours
  const look = (): void =>
    queueMicrotask(() => {
      if (!isOpen(stream))
        reject(new MoatError('STREAM_ENDED', 'the stream ended before all was sent', { retryable: true }));
      else if (stream.writeBufferLength <= bytes) resolve();
    });
  const onAbort = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', onAbort);
  for (const event of EVENTS) stream.addEventListener(event, look);
  look();
  try {
    if (signal.aborted) onAbort();
    await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    for (const event of EVENTS) stream.removeEventListener(event, look);
  }
}

const EVENTS = ['drain', 'idle', 'close'] as const;

function isOpen(stream: Stream): boolean {
  return stream.status === 'open' || stream.status === 'closing';
}
