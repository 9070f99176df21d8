/** One way through a splice: reads one of its sockets into memory that is used again, and waits where it has to. */
import { Socket, type SocketConstructorOpts } from 'node:net';

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
  /** The connection of the socket given, which is nothing any more. */
  readonly from: Socket;
  readonly #deps: SpliceWayDeps;
  readonly #pump = new SplicePump();
  /** What came before anybody was there; honest sides wait until they are answered. */
  readonly #early: Buffer | null;
  #to: Socket | undefined;
  #full = false;
  #waiting = false;

  constructor(deps: SpliceWayDeps, socket: Socket) {
    this.#deps = deps;
    this.#early = socket.read() as Buffer | null;
    this.from = adoptSocket(
      socket,
      () => this.#pump.room,
      (bytes) => this.#onRead(bytes),
    );
  }

  /** From here on everything that {@link from} reads is written to `to`. */
  start(to: Socket): void {
    this.#to = to;
    to.on('drain', () => {
      this.#full = false;
      this.#goOn();
    });
    if (this.#early !== null) {
      to.write(this.#early);
      this.#count(this.#early.length);
    }
    this.#goOn();
  }

  /** Gives its memory back; both sockets must be closed. */
  close(): void {
    this.#pump.close();
  }

  #onRead(bytes: number): boolean {
    if (this.#to === undefined) return false;
    if (!this.#pump.pass(bytes, this.#to)) this.#full = true;
    this.#count(bytes);
    if (!this.#full && !this.#waiting) return true;
    this.from.pause();
    return false;
  }

  #count(bytes: number): void {
    const waitMs = this.#deps.debit(bytes);
    if (waitMs === 0) return;
    this.#waiting = true;
    this.#deps.after(waitMs, () => {
      this.#waiting = false;
      this.#goOn();
    });
  }

  #goOn(): void {
    if (!this.#full && !this.#waiting && !this.from.destroyed) this.from.resume();
  }
}

/**
 * Takes a paused socket over, so that it reads where `room` says and tells `onRead` of it; the socket given is destroyed
 * without its connection. Node has `onread` for sockets that it dials, and for one that it accepted only this way, by
 * which it moves a socket to another thread itself.
 */
function adoptSocket(socket: Socket, room: () => Buffer, onRead: (bytes: number) => boolean): Socket {
  const { _handle: handle } = socket as unknown as { readonly _handle: object };
  Object.assign(socket, { _handle: null });
  socket.destroy();
  const options = {
    handle,
    allowHalfOpen: true,
    pauseOnCreate: true,
    writableHighWaterMark: HIGH_BYTES,
    onread: { buffer: room, callback: onRead },
  };
  return new Socket(options as SocketConstructorOpts).setNoDelay(true);
}
