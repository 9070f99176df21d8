/**
 * What goes to one client. Parts of a body that come in one turn of the loop leave together, a buffer at a time, and one
 * write is under way at a time: a TLS record of a link is 16 KiB and a write costs the same whatever it carries, and what
 * waits inside a TLS socket is copied once more.
 * Bound: the caller stops when told to; until then what it still gives is kept.
 */
import type { Socket } from 'node:net';
import { BUFFER_BYTES, borrow, copyOf, giveBack } from './chunk-pool.ts';

export interface OutputEvents {
  /** The operating system took something. */
  onWritten(): void;
  /** More may be given again. */
  onDrain(): void;
}

const EMPTY = new Uint8Array();

export class Output {
  readonly #socket: Socket;
  readonly #events: OutputEvents;
  /** Writes the operating system has not taken: one, but at the end. */
  #writes = 0;
  /** Full buffers behind the write under way. */
  #full: Buffer[] = [];
  #gathered: Buffer | undefined;
  /** Bytes of `#gathered` in use. */
  #bytes = 0;
  /** What was gathered leaves at the end of this turn. */
  #scheduled = false;

  constructor(socket: Socket, events: OutputEvents) {
    this.#socket = socket;
    this.#events = events;
  }

  /** Everything is with the operating system. */
  get isEmpty(): boolean {
    return this.#writes === 0 && this.#bytes === 0 && this.#full.length === 0;
  }

  /** Whole buffers wait: give no more before `onDrain`. */
  get isBlocked(): boolean {
    return this.#full.length > 0;
  }

  /** Leaves at once, or behind what is before it. Texts are latin1; `chunk` is copied. */
  write(before: string, chunk: Uint8Array = EMPTY): void {
    if (this.isEmpty) {
      const { bytes, release } = copyOf(chunk, before);
      this.#send(bytes, release);
    } else {
      this.#append(before, chunk, '');
      this.#sendNext();
    }
  }

  /** Leaves with what else comes in this turn. False = wait for `onDrain`. */
  gather(before: string, chunk: Uint8Array, after: string): boolean {
    this.#append(before, chunk, after);
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(endTurn, this);
    }
    return !this.isBlocked;
  }

  /** Gives everything to the socket: nothing comes behind it. */
  flush(): void {
    this.#close();
    for (const buffer of this.#full.splice(0)) this.#send(buffer, () => giveBack(buffer));
  }

  onTurnEnd(): void {
    this.#scheduled = false;
    this.#sendNext();
  }

  #append(before: string, chunk: Uint8Array, after: string): void {
    this.#text(before);
    for (let at = 0; at < chunk.length;) {
      const into = this.#room(1);
      const length = Math.min(chunk.length - at, BUFFER_BYTES - this.#bytes);
      into.set(length === chunk.length ? chunk : chunk.subarray(at, at + length), this.#bytes);
      this.#bytes += length;
      at += length;
    }
    this.#text(after);
    if (this.isBlocked) this.#sendNext();
  }

  #text(text: string): void {
    if (text.length > BUFFER_BYTES) return this.#append('', Buffer.from(text, 'latin1'), '');
    if (text === '') return;
    // First: making room may begin another buffer.
    const into = this.#room(text.length);
    this.#bytes += into.write(text, this.#bytes, 'latin1');
  }

  /** The buffer, with room for `bytes` behind what is in it. */
  #room(bytes: number): Buffer {
    if (this.#bytes + bytes > BUFFER_BYTES) this.#close();
    this.#gathered ??= borrow();
    return this.#gathered;
  }

  /** What is gathered goes no further. */
  #close(): void {
    if (this.#gathered !== undefined) this.#full.push(this.#gathered.subarray(0, this.#bytes));
    this.#gathered = undefined;
    this.#bytes = 0;
  }

  #sendNext(): void {
    if (this.#writes > 0) return;
    if (this.#full.length === 0 && !this.#scheduled) this.#close();
    const next = this.#full.shift();
    if (next !== undefined) this.#send(next, () => giveBack(next));
  }

  #send(bytes: Buffer, release: (() => void) | undefined): void {
    if (this.#socket.destroyed) return;
    this.#writes += 1;
    this.#socket.write(bytes, release === undefined ? this.#taken : (error) => this.#taken(error, release));
  }

  readonly #taken = (error?: Error | null, release?: () => void): void => {
    this.#writes -= 1;
    // After a failed write the socket is done for, but who knows by whom the bytes are still held.
    if (error || this.#socket.destroyed) return;
    release?.();
    const wasBlocked = this.isBlocked;
    this.#sendNext();
    this.#events.onWritten();
    if (wasBlocked && !this.isBlocked) this.#events.onDrain();
  };
}

function endTurn(output: Output): void {
  output.onTurnEnd();
}
