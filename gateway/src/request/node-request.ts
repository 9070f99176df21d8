/** One request on node:http: both of its directions, and the raw bytes after an answer of 101. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { noteReadBuffer, type FieldList } from '@moat/core';
import type {
  ClientAddress,
  ClientAnswer,
  ClientEvents,
  ClientRequest,
  RequestBody,
  RequestBodyEvents,
} from './client-request.ts';
import { copyOf } from './chunk-pool.ts';
import { trailerFields } from './fields.ts';
import type { RawHead } from './parse.ts';

/** What is known of a request beside its streams. */
export type RequestFacts = Pick<ClientRequest, 'id' | 'startedMs' | 'client' | 'servername' | 'raw'>;

export class NodeRequest implements ClientRequest, RequestBody, ClientAnswer {
  readonly id: string;
  readonly startedMs: number;
  readonly client: ClientAddress;
  readonly servername: string;
  readonly raw: RawHead;
  /** Bytes that came right behind the head of a request to switch protocols. */
  upgradeHead: Buffer | undefined;
  /** Called once the connection may carry the next request, or is gone. */
  onSettled: () => void = () => undefined;
  receivedBytes = 0;
  sentBytes = 0;
  headSent = false;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #socket: Socket;
  #events: ClientEvents | undefined;
  #switched = false;
  #ended = false;
  #closed = false;
  /** Bytes of body the head announced. */
  #contentLength: number | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, socket: Socket, facts: RequestFacts) {
    this.id = facts.id;
    this.startedMs = facts.startedMs;
    this.client = facts.client;
    this.servername = facts.servername;
    this.raw = facts.raw;
    this.#request = request;
    this.#response = response;
    this.#socket = socket;
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    response.on('drain', () => this.#events?.onDrain());
    response.once('close', () => {
      if (!this.#switched) this.#close(response.writableFinished);
    });
  }

  get body(): RequestBody {
    return this;
  }

  get answer(): ClientAnswer {
    return this;
  }

  get complete(): boolean {
    return this.#request.complete;
  }

  listen(events: ClientEvents): void {
    this.#events = events;
  }

  read(events: RequestBodyEvents): void {
    const onData = (chunk: Buffer): void => {
      this.receivedBytes += chunk.length;
      events.onData(chunk);
      noteReadBuffer(chunk.length);
    };
    if (this.#switched) {
      this.#socket.on('data', onData);
      this.#socket.once('end', () => events.onEnd([]));
      if (this.upgradeHead && this.upgradeHead.length > 0) onData(this.upgradeHead);
      return;
    }
    this.#request.on('data', onData);
    this.#request.once('end', () => events.onEnd(trailerFields(this.#request.rawTrailers)));
  }

  pause(): void {
    (this.#switched ? this.#socket : this.#request).pause();
  }

  resume(): void {
    (this.#switched ? this.#socket : this.#request).resume();
  }

  inform(status: number, fields: FieldList): void {
    if (this.raw.version !== '1.1' || this.headSent) return;
    if (status === 100) this.#response.writeContinue();
    else if (status === 102) this.#response.writeProcessing();
    else if (status === 103) this.#writeEarlyHints(fields);
  }

  writeHead(status: number, fields: FieldList): void {
    this.headSent = true;
    if (status === 101) return this.#switchProtocols(fields);
    const length = fields.find(([name]) => name === 'content-length')?.[1];
    this.#contentLength = length === undefined ? undefined : Number(length);
    this.#response.writeHead(status, fields.flat());
    // One segment with the body where that follows in this turn, alone where it does not.
    queueMicrotask(() => {
      if (!this.#ended && this.sentBytes === 0 && !this.#response.destroyed) this.#response.flushHeaders();
    });
  }

  write(chunk: Uint8Array): boolean {
    this.sentBytes += chunk.length;
    noteReadBuffer(chunk.length);
    const { bytes: copy, release } = copyOf(chunk);
    // After a failed write the socket is done for, but who knows by whom the bytes are still held.
    const written = release && ((error?: Error | null): void => (error ? undefined : release()));
    if (this.#switched) return this.#socket.write(copy, written);
    if (this.sentBytes === this.#contentLength) {
      // Head, body and end in one go: 10-17% of the CPU of a small answer (research/gateway.md §6).
      this.#ended = true;
      this.#response.end(copy, written);
      return true;
    }
    return this.#response.write(copy, written);
  }

  end(trailers: FieldList): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#switched) return void this.#socket.end();
    if (trailers.length > 0)
      this.#response.addTrailers(trailers.map(([name, value]): [string, string] => [name, value]));
    this.#response.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  closeAfter(): void {
    this.#response.shouldKeepAlive = false;
  }

  /** The body's framing broke: nothing behind it on this connection can be read. */
  broken(): void {
    this.closeAfter();
    if (this.#events) this.#events.onBroken();
    else this.destroy();
  }

  /** Reads what still comes of the body and throws it away. */
  discardRest(): void {
    this.#request.resume();
  }

  #switchProtocols(fields: FieldList): void {
    const socket = this.#socket;
    this.#switched = true;
    this.#response.detachSocket(socket);
    const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    socket.on('drain', () => this.#events?.onDrain());
    socket.once('close', () => this.#close(!socket.errored && this.#ended));
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines}\r\n`, 'latin1');
  }

  #writeEarlyHints(fields: FieldList): void {
    const hints: Record<string, string | string[]> = {};
    const links: string[] = [];
    for (const [name, value] of fields) {
      if (name === 'link') links.push(value);
      else hints[name] = value;
    }
    try {
      if (links.length > 0) this.#response.writeEarlyHints({ ...hints, link: links });
    } catch {
      // node:http knows fewer forms of Link than the RFC; hints may be lost.
    }
  }

  #close(delivered: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    // Unread body would be taken for the next request, and stops the parser.
    if (delivered && !this.#switched && !this.#request.complete) this.#socket.destroySoon();
    this.#events?.onClose(delivered);
    this.onSettled();
  }
}
