/**
 * One HTTP/1.1 request on its connection: the body as the parser reads it, and the answer as bytes. A small answer
 * leaves as one write: its head waits for what follows in the same turn.
 */
import type { FieldList } from '@moat/core';
import type {
  ClientAddress,
  ClientAnswer,
  ClientEvents,
  ClientRequest,
  RequestBody,
  RequestBodyEvents,
} from './client-request.ts';
import { headText, interimText, fieldLines } from './http1-answer.ts';
import type { Output } from './http1-output.ts';
import type { ParsedHead } from './parse.ts';

/** What a request needs of its connection. */
export interface RequestCarrier {
  /** The connection ends after this answer whatever the request says. */
  readonly isEnding: boolean;
  readonly output: Pick<Output, 'write' | 'gather'>;
  /** The request wants its body, or wants it again. */
  advance(): void;
  /** The answer was written to its end. */
  onAnswered(request: Http1Request): void;
  /** After 101: no more bytes go to the client. */
  endWriting(): void;
  destroy(): void;
}

export type RequestFacts = Pick<ClientRequest, 'id' | 'startedMs' | 'client' | 'servername' | 'head'>;

export class Http1Request implements ClientRequest, RequestBody, ClientAnswer {
  readonly id: string;
  readonly startedMs: number;
  readonly client: ClientAddress;
  readonly servername: string;
  readonly head: ParsedHead;
  receivedBytes = 0;
  sentBytes = 0;
  headSent = false;
  /** All of the body has been read off the wire. */
  complete = false;
  /** The answer was written to its end. */
  answered = false;
  /** The connection ends after this answer. */
  closing: boolean;
  /** The rest of the body cannot be read. */
  broken = false;
  readonly #carrier: RequestCarrier;
  #events: ClientEvents | undefined;
  #body: RequestBodyEvents | undefined;
  #paused = false;
  #switched = false;
  #closed = false;
  /** Head of the answer, until it is written. */
  #head = '';
  #chunked = false;
  /** Bytes of body the head announced. */
  #contentLength: number | undefined;

  constructor(carrier: RequestCarrier, facts: RequestFacts) {
    this.#carrier = carrier;
    this.id = facts.id;
    this.startedMs = facts.startedMs;
    this.client = facts.client;
    this.servername = facts.servername;
    this.head = facts.head;
    this.closing = facts.head.wantsClose;
  }

  get body(): RequestBody {
    return this;
  }

  get answer(): ClientAnswer {
    return this;
  }

  /** Somebody reads the body and can take more of it. */
  get wantsBody(): boolean {
    return this.#body !== undefined && !this.#paused;
  }

  /** True after an answer of 101. */
  get switched(): boolean {
    return this.#switched;
  }

  listen(events: ClientEvents): void {
    this.#events = events;
  }

  read(events: RequestBodyEvents): void {
    this.#body = events;
    this.#carrier.advance();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#carrier.advance();
  }

  inform(status: number, fields: FieldList): void {
    if (this.head.version !== '1.1' || this.headSent) return;
    this.#carrier.output.write(interimText(status, fields));
  }

  writeHead(status: number, fields: FieldList): void {
    this.headSent = true;
    const { text, chunked, contentLength, closes } = headText(status, fields, {
      method: this.head.method,
      version: this.head.version,
      closes: this.closing || this.#carrier.isEnding,
    });
    this.closing = closes;
    this.#chunked = chunked;
    this.#contentLength = contentLength;
    this.#head = text;
    if (status === 101) {
      this.#switched = true;
      this.#flushHead();
      return;
    }
    // One segment with the body where that follows in this turn, alone where it does not.
    queueMicrotask(() => this.#flushHead());
  }

  write(chunk: Uint8Array): boolean {
    if (chunk.length === 0) return true;
    this.sentBytes += chunk.length;
    const isWhole = this.sentBytes === this.#contentLength;
    const head = this.#head;
    this.#head = '';
    const { output } = this.#carrier;
    if (!isWhole) {
      return this.#chunked
        ? output.gather(`${head}${chunk.length.toString(16)}\r\n`, chunk, '\r\n')
        : output.gather(head, chunk, '');
    }
    output.write(head, chunk);
    this.#finish();
    return true;
  }

  end(trailers: FieldList): void {
    if (this.answered) return;
    if (this.#switched) {
      this.answered = true;
      this.#carrier.endWriting();
      return;
    }
    const last = this.#chunked ? `0\r\n${fieldLines(trailers)}\r\n` : '';
    const text = this.#head + last;
    this.#head = '';
    if (text !== '') this.#carrier.output.write(text);
    this.#finish();
  }

  /** Behind a whole answer the connection may be another request's. */
  destroy(): void {
    if (!this.answered || this.#switched) this.#carrier.destroy();
  }

  closeAfter(): void {
    this.closing = true;
  }

  /** The parser read a part of the body. False = take no more now. */
  onBody(chunk: Buffer): boolean {
    this.receivedBytes += chunk.length;
    this.#body?.onData(chunk);
    return !this.#paused;
  }

  /** The body is complete; after 101, the client sends no more. */
  onBodyEnd(trailers: FieldList): void {
    this.complete = true;
    this.#body?.onEnd(trailers);
  }

  /** The body's framing broke, or the client left in its middle: nothing behind it can be read. */
  onBroken(error: Error): void {
    this.closing = true;
    this.broken = true;
    if (this.#events) this.#events.onBroken(error);
    else this.#carrier.destroy();
  }

  onDrain(): void {
    this.#events?.onDrain();
  }

  /** The answer is with the operating system, or never will be; further calls do nothing. */
  onClose(delivered: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events?.onClose(delivered);
  }

  #flushHead(): void {
    if (this.#head === '') return;
    const head = this.#head;
    this.#head = '';
    this.#carrier.output.write(head);
  }

  #finish(): void {
    if (this.answered) return;
    this.answered = true;
    this.#carrier.onAnswered(this);
  }
}
