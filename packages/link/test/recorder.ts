/** Test ends of streams: what happened, as values and promises. */
import { createHash } from 'node:crypto';

import type { AcceptHead, FieldList, LinkStream, StreamEvents } from '@moat/core';

/** Records what a stream reports. */
export class Recorder implements StreamEvents {
  readonly stream: LinkStream;
  readonly heads: AcceptHead[] = [];
  readonly hash = createHash('sha256');
  text = '';
  bytes = 0;
  trailers: FieldList | undefined;
  closes = 0;
  /** Called for each piece of data. */
  onPiece: (chunk: Uint8Array) => void = () => undefined;
  readonly #head = Promise.withResolvers<AcceptHead>();
  readonly #ended = Promise.withResolvers<FieldList>();
  readonly #closed = Promise.withResolvers<string | undefined>();
  #drain = Promise.withResolvers<void>();

  constructor(stream: LinkStream) {
    this.stream = stream;
    stream.listen(this);
  }

  /** The first head. */
  get head(): Promise<AcceptHead> {
    return this.#head.promise;
  }
  get ended(): Promise<FieldList> {
    return this.#ended.promise;
  }
  /** The code the stream closed with. */
  get closed(): Promise<string | undefined> {
    return this.#closed.promise;
  }
  get nextDrain(): Promise<void> {
    return this.#drain.promise;
  }

  onHead(head: AcceptHead): void {
    this.heads.push(head);
    this.#head.resolve(head);
  }
  onData(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    if (this.bytes <= 65_536) this.text += Buffer.from(chunk).toString('latin1');
    this.onPiece(chunk);
  }
  onEnd(trailers: FieldList): void {
    this.trailers = trailers;
    this.#ended.resolve(trailers);
  }
  onDrain(): void {
    const drain = this.#drain;
    this.#drain = Promise.withResolvers();
    drain.resolve();
  }
  onClose(code?: string): void {
    this.closes += 1;
    this.#closed.resolve(code);
  }

  /** Writes `chunk`, waiting for the drain event when there is no credit; false when the stream closed. */
  async send(chunk: Uint8Array): Promise<boolean> {
    const drain = this.nextDrain;
    if (this.stream.write(chunk)) return this.closes === 0;
    await Promise.race([drain, this.closed]);
    return this.closes === 0;
  }
}

/** Sends back what it gets, with back-pressure, and ends when the opener ends. */
export function echo(stream: LinkStream): Recorder {
  const recorder = new Recorder(stream);
  stream.writeHead(stream.request.kind === 'http' ? { status: 200, fields: [] } : { connected: true });
  recorder.onPiece = (chunk) => {
    if (!stream.write(chunk)) stream.pause();
  };
  const drained = recorder.onDrain.bind(recorder);
  recorder.onDrain = () => {
    drained();
    stream.resume();
  };
  void recorder.ended.then((trailers) => stream.end(trailers));
  return recorder;
}

/** Lets `count` loop turns pass. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}
