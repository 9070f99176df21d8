/** One way through a splice: reads one of its sockets into memory that is used again, and waits where it has to. */
import type { Socket } from 'node:net';

import { readInto } from '@moat/core';

import { SplicePump } from './splice-pump.ts';

/** Bytes that may wait for a reader before its writer has to. */
const HIGH_BYTES = 512 * 1024;

export interface SpliceWayDeps {
  /** Counts bytes; returns the milliseconds their sender has to wait. */
  readonly debit: (bytes: number) => number;
  readonly after: (delayMs: number, run: () => void) => void;
}

/** Bound: `HIGH_BYTES` and one read wait. */
export class SpliceWay {
  readonly from: Socket;
  readonly #deps: SpliceWayDeps;
  readonly #pump = new SplicePump();
  /** What came before anybody was there; honest sides wait until they are answered. */
  readonly #early: Buffer | null;
  #full = false;
  #waiting = false;

  constructor(deps: SpliceWayDeps, from: Socket) {
    this.#deps = deps;
    this.from = from;
    this.#early = from.read() as Buffer | null;
    from.allowHalfOpen = true;
    from.setNoDelay(true);
  }

  /** Starts: everything that {@link from} reads is written to `to`. */
  start(to: Socket): void {
    const { from } = this;
    const pump = this.#pump;
    to.on('drain', () => {
      this.#full = false;
      this.#goOn();
    });
    const isPooled = readInto(
      from,
      (chunk) => {
        pump.pass(chunk, to);
        this.#passed(chunk.length, to);
      },
      () => pump.room,
    );
    const pass = (chunk: Buffer): void => {
      to.write(chunk);
      this.#passed(chunk.length, to);
    };
    if (!isPooled) from.on('data', pass);
    if (this.#early !== null) pass(this.#early);
    this.#goOn();
  }

  /** Gives its memory back; both sockets must be closed. */
  close(): void {
    this.#pump.close();
  }

  #passed(bytes: number, to: Socket): void {
    if (to.writableLength > HIGH_BYTES) this.#full = true;
    const waitMs = this.#deps.debit(bytes);
    if (waitMs > 0) {
      this.#waiting = true;
      this.#deps.after(waitMs, () => {
        this.#waiting = false;
        this.#goOn();
      });
    }
    if (this.#full || this.#waiting) this.from.pause();
  }

  #goOn(): void {
    if (!this.#full && !this.#waiting && !this.from.destroyed) this.from.resume();
  }
}
