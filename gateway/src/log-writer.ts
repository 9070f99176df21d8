import { write, writeSync } from 'node:fs';

/** Bytes that wait for a reader who stands still. Drop rule: what comes then is lost. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** Between two tries on a pipe that is full and does not block. */
const RETRY_MS = 20;
/** For a write in flight to be done before what is behind it is written in its stead. */
const LAST_WAIT_MS = 20;
const LAST_TRIES = 50;

/**
 * Writes text to a file descriptor in a thread of the pool, so that nobody waits for a slow reader: one write in
 * flight, the rest behind it. pino's own destination writes what is in flight once more when the process ends.
 */
export class LogWriter {
  readonly #fd: number;
  readonly #maxWriteBytes: number | undefined;
  #inFlight = false;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #onEnd: (() => void) | undefined;

  /** @param maxWriteBytes of one system call, which then ends with a line; undefined = any. */
  constructor(fd: number, maxWriteBytes?: number) {
    this.#fd = fd;
    this.#maxWriteBytes = maxWriteBytes;
  }

  write(text: string): void {
    const bytes = Buffer.from(text);
    if (this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) return;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#next();
  }

  /** Takes nothing more; calls back when everything is written. */
  end(done: () => void): void {
    this.#onEnd = done;
    this.#next();
  }

  /** Writes what waits before it returns; for the end of the process. */
  finish(): void {
    if (this.#inFlight) pause(LAST_WAIT_MS);
    let rest = Buffer.concat(this.#waiting);
    this.#waiting = [];
    for (let tries = 0; rest.length > 0 && tries < LAST_TRIES;) {
      try {
        rest = rest.subarray(writeSync(this.#fd, this.#firstOf(rest)));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
        tries += 1;
        pause(RETRY_MS);
      }
    }
  }

  #next(): void {
    if (this.#inFlight) return;
    if (this.#waiting.length === 0) {
      const done = this.#onEnd;
      this.#onEnd = undefined;
      return done?.();
    }
    const all = this.#waiting.length === 1 ? (this.#waiting[0] as Buffer) : Buffer.concat(this.#waiting);
    const bytes = this.#firstOf(all);
    this.#waiting = bytes.length === all.length ? [] : [all.subarray(bytes.length)];
    this.#waitingBytes = all.length - bytes.length;
    this.#inFlight = true;
    write(this.#fd, bytes, (error, written) => {
      this.#inFlight = false;
      // Any other error: nobody reads any more, and there is nowhere to say so.
      if (error && error.code !== 'EAGAIN') return;
      const rest = error ? bytes : bytes.subarray(written);
      if (rest.length === 0) return this.#next();
      this.#waiting.unshift(rest);
      this.#waitingBytes += rest.length;
      setTimeout(() => this.#next(), RETRY_MS).unref();
    });
  }

  /** Whole lines that go in one write; a line longer than that goes alone. */
  #firstOf(bytes: Buffer): Buffer {
    const max = this.#maxWriteBytes;
    if (max === undefined || bytes.length <= max) return bytes;
    const fitting = bytes.lastIndexOf(NEWLINE, max - 1);
    const end = fitting === -1 ? bytes.indexOf(NEWLINE, max) : fitting;
    return end === -1 ? bytes : bytes.subarray(0, end + 1);
  }
}

/** The newline that ends a line. */
const NEWLINE = 10;

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
