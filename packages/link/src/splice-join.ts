/**
 * Two sockets as one, byte for byte. What passes is another machine's TLS: nothing here can read it, or tell an
 * altered byte from a right one, and nothing needs to.
 */
import type { Socket } from 'node:net';

import type { Clock, Timer } from '@moat/core';

/** Bytes that may wait for a reader before its writer has to; the sockets' own 64 KiB would mean to stop after each read. */
const HIGH_BYTES = 512 * 1024;

export interface JoinOptions {
  readonly clock: Clock;
  /** Milliseconds without a byte either way, and in all. */
  readonly idleMs: number;
  readonly lifeMs: number;
  /** Counts bytes; returns the milliseconds their sender has to wait. */
  readonly debit: (bytes: number) => number;
  /** Called once when both directions are over, with the bytes of both. */
  readonly onOver: (bytes: number) => void;
}

/** Joins two paused sockets, neither destroyed; returns the way to end it. Bound: 512 KiB and one read wait, each way. */
export function joinSockets(a: Socket, b: Socket, options: JoinOptions): () => void {
  const { clock } = options;
  let bytes = 0;
  let seen = 0;
  let open = 2;
  const timers = new Set<Timer>();
  const end = (): void => {
    cut(a);
    cut(b);
  };
  const after = (delayMs: number, run: () => void): void => {
    const timer = clock.after(delayMs, () => {
      timers.delete(timer);
      run();
    });
    timers.add(timer);
  };
  const lookForIdle = (): void => {
    if (bytes === seen) return end();
    seen = bytes;
    after(options.idleMs, lookForIdle);
  };
  const pass = (from: Socket, to: Socket): void => {
    let waiting = false;
    let full = false;
    const goOn = (): void => {
      if (!waiting && !full && !from.destroyed) from.resume();
    };
    const onWritten = (): void => {
      if (!full || to.writableLength > HIGH_BYTES / 2) return;
      full = false;
      goOn();
    };
    from.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      to.write(chunk, onWritten);
      if (to.writableLength > HIGH_BYTES) full = true;
      const waitMs = options.debit(chunk.length);
      if (waitMs > 0) {
        waiting = true;
        after(waitMs, () => {
          waiting = false;
          goOn();
        });
      }
      if (full || waiting) from.pause();
    });
    from.once('end', () => to.end());
    from.once('close', () => {
      // One side that breaks ends both; after an orderly end the other direction runs on.
      if (from.readableEnded && from.writableFinished) to.end();
      else cut(to);
      open -= 1;
      if (open > 0) return;
      for (const timer of timers) timer.cancel();
      options.onOver(bytes);
    });
  };
  for (const socket of [a, b]) {
    socket.allowHalfOpen = true;
    socket.setNoDelay(true);
  }
  pass(a, b);
  pass(b, a);
  after(options.idleMs, lookForIdle);
  after(options.lifeMs, end);
  a.resume();
  b.resume();
  return end;
}

/**
 * A reset rather than an end: nobody shall take what arrived for the whole. Not after our own end: libuv refuses to reset
 * a socket that is shutting down, and Node then never closes it.
 */
function cut(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
