/**
 * The answer of a service on its way through a compressor. The exchange writes to it as it would to the client, counts
 * what the service sent, and waits while either of them cannot take more.
 */
import type { FieldList } from '@moat/core';
import { Compressor, type Coding } from '../rules/compression.ts';
import type { ClientAnswer } from './client-request.ts';

export interface CodedAnswerEvents {
  /** Neither the compressor nor the client waits any more. */
  onDrain(): void;
  /** The client takes no more for now, though the compressor might. */
  onBlocked(): void;
}

/** Bound: what the compressor keeps; it takes nothing while the client does not. */
export class CodedAnswer {
  readonly #events: CodedAnswerEvents;
  readonly #compressor: Compressor;
  #received = 0;
  #isFull = false;
  #isBlocked = false;
  #trailers: FieldList | undefined;

  constructor(client: ClientAnswer, coding: Coding, events: CodedAnswerEvents) {
    this.#events = events;
    this.#compressor = new Compressor(coding, {
      onData: (chunk) => {
        if (client.write(chunk) || this.#isBlocked) return;
        this.#isBlocked = true;
        this.#compressor.pause();
        events.onBlocked();
      },
      onEnd: () => client.end(this.#trailers ?? []),
      onDrain: () => {
        this.#isFull = false;
        if (!this.#isBlocked) events.onDrain();
      },
    });
  }

  /** Bytes that the service sent. */
  get sentBytes(): number {
    return this.#received;
  }

  /** Copies `chunk`; false = wait for `onDrain`. */
  write(chunk: Uint8Array): boolean {
    this.#received += chunk.length;
    if (!this.#compressor.write(chunk)) this.#isFull = true;
    return !this.#isFull && !this.#isBlocked;
  }

  /** Twice is once: a length may say before the member does that this is all. */
  end(trailers: FieldList): void {
    if (this.#trailers !== undefined) return;
    this.#trailers = trailers;
    this.#compressor.end();
  }

  /** The client takes more again. */
  resume(): void {
    if (!this.#isBlocked) return;
    this.#isBlocked = false;
    this.#compressor.resume();
    if (!this.#isFull) this.#events.onDrain();
  }

  /** Nothing of it reaches the client any more. */
  close(): void {
    this.#compressor.destroy();
  }
}
