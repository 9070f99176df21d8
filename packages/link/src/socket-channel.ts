import type { Socket } from 'node:net';

import { noteReadBuffer, type ByteChannel } from '@moat/core';

const ignore = (): void => undefined;

/** A socket as a byte channel. Bound: the socket's buffer; `write` says stop at 256 KiB. */
export class SocketChannel implements ByteChannel {
  onData: (chunk: Uint8Array) => void = ignore;
  onDrain: () => void = ignore;
  onEnd: () => void = ignore;
  onClose: (error?: Error) => void = ignore;
  readonly #socket: Socket;
  #error: Error | undefined;
  #paused = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      noteReadBuffer(chunk.length);
      this.onData(chunk);
    });
    socket.on('drain', () => this.onDrain());
    socket.on('end', () => this.onEnd());
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.on('close', () => this.onClose(this.#error));
    // The owner sets its handlers in the turn in which it gets the channel; nothing may be read before.
    socket.pause();
    setImmediate(() => {
      if (!this.#paused) socket.resume();
    });
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  write(chunk: Uint8Array, onTaken?: () => void): boolean {
    if (this.#socket.destroyed) return false;
    if (onTaken === undefined) return this.#socket.write(chunk);
    // After an error nobody knows what is still read.
    return this.#socket.write(chunk, (error) => (error ? undefined : onTaken()));
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(error?: Error): void {
    this.#socket.destroy(error);
  }
}
