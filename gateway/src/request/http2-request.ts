/**
 * One HTTP/2 stream as a request: its body with the stream's own flow control, its answer as one response, interim answers
 * and trailers. Nothing is read before somebody wants it, so the client's window closes when the link's does.
 *
 * A WebSocket comes as an extended CONNECT (RFC 8441): what is an answer of 101 for the phases between is 200 here.
 */
import { createHash } from 'node:crypto';
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { noteReadBuffer, type FieldList } from '@moat/core';
import { copyOf } from './chunk-pool.ts';
import type {
  ClientAddress,
  ClientAnswer,
  ClientEvents,
  ClientRequest,
  RequestBody,
  RequestBodyEvents,
} from './client-request.ts';
import type { RequestFacts } from './http1-request.ts';
import { readHttp2Trailers } from './http2-head.ts';
import type { ParsedHead } from './parse.ts';

/** What a request needs of its connection. */
export interface Http2Carrier {
  now(): number;
  /** A part of a body came. */
  onReceived(bytes: number): void;
  /** `bytes` more wait for the client, or fewer where negative. */
  onQueued(bytes: number): void;
  /** The last of it. */
  onOver(request: Http2Request): void;
}

const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** Fields of the HTTP/1.1 handshake that RFC 8441 §5 has no use for. */
const HANDSHAKE: ReadonlySet<string> = new Set(['connection', 'upgrade', 'sec-websocket-accept']);

const BROKEN_OFF = new Error('the answer was broken off');

export class Http2Request implements ClientRequest, RequestBody, ClientAnswer {
  readonly id: string;
  readonly startedMs: number;
  readonly client: ClientAddress;
  readonly servername: string;
  readonly head: ParsedHead;
  receivedBytes = 0;
  sentBytes = 0;
  headSent = false;
  complete: boolean;
  /** The answer was written to its end. */
  answered = false;
  /** All of it went to the client, on a stream that ended well. */
  delivered = false;
  /** It was broken off, and not by the client. */
  destroyed = false;
  /** Written bytes the client has not taken. */
  queued = 0;
  /** When the client last took something, or since when it has been waited for. */
  progressMs: number;
  readonly #stream: ServerHttp2Stream;
  readonly #carrier: Http2Carrier;
  #events: ClientEvents | undefined;
  #switched = false;
  /** The rest of the body was told to be of no use: the stream ends as if there were none. */
  #isCutShort = false;
  #blocked = false;
  #waitsForTrailers = false;
  /** Status and fields that wait for what follows. */
  #held: { readonly status: number; readonly fields: FieldList } | undefined;
  /** Bytes of body the head announced. */
  #contentLength: number | undefined;
  #trailers: FieldList = [];
  #received: FieldList = [];

  constructor(stream: ServerHttp2Stream, carrier: Http2Carrier, facts: RequestFacts) {
    this.#stream = stream;
    this.#carrier = carrier;
    this.id = facts.id;
    this.startedMs = this.progressMs = facts.startedMs;
    this.client = facts.client;
    this.servername = facts.servername;
    this.head = facts.head;
    this.complete = facts.head.bodyless && facts.head.upgrade === undefined;
    // The connection listens to `error`; its reason is in `rstCode`.
    stream.once('close', () => this.#onClosed());
  }

  get body(): RequestBody {
    return this;
  }

  /** Bytes of the body that came and wait here. */
  get unreadBytes(): number {
    return this.#stream.readableLength;
  }

  /** Bytes of the body that may come yet, of a client that was given a window of `window`. */
  awaitedBytes(window: number): number {
    if (this.complete && !this.#isCutShort) return 0;
    return Math.min(window, Math.max(0, (this.head.contentLength ?? Infinity) - this.receivedBytes));
  }

  get answer(): ClientAnswer {
    return this;
  }

  listen(events: ClientEvents): void {
    this.#events = events;
  }

  read(events: RequestBodyEvents): void {
    const stream = this.#stream;
    stream.on('trailers', (_headers: object, _flags: number, raw: readonly string[]) => this.#onTrailers(raw));
    stream.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
      this.#carrier.onReceived(chunk.length);
      noteReadBuffer(chunk.length);
      events.onData(chunk);
    });
    stream.once('end', () => {
      // A stream that was reset ends too, before its body does.
      if (this.destroyed || stream.destroyed || stream.aborted || (stream.closed && !this.answered)) return;
      this.complete = true;
      events.onEnd(this.#received);
    });
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  inform(status: number, fields: FieldList): void {
    if (this.headSent || !this.#isOpen) return;
    this.#stream.additionalHeaders({ ':status': status, ...headersOf(fields) });
  }

  writeHead(status: number, fields: FieldList): void {
    this.headSent = true;
    if (!this.#isOpen) return;
    if (status === 101) return this.#switch(fields);
    const hasBody = this.head.method !== 'HEAD' && status !== 204 && status !== 304;
    const length = hasBody ? valueOf(fields, 'content-length') : undefined;
    this.#contentLength = length === undefined ? undefined : Number(length);
    // Where nothing follows, the head ends the stream: a gRPC client takes a status for the whole answer only so
    // (Trailers-Only).
    const isLast = !hasBody || this.#contentLength === 0 || valueOf(fields, 'grpc-status') !== undefined;
    if (isLast) {
      this.#held = { status, fields };
    } else if (this.#contentLength !== undefined) {
      this.#respond(status, fields, {});
    } else {
      this.#respond(status, fields, { waitForTrailers: true });
    }
  }

  write(chunk: Uint8Array): boolean {
    const { length } = chunk;
    if (length === 0) return true;
    this.sentBytes += length;
    this.#release({ waitForTrailers: true });
    if (!this.#isOpen) return true;
    const { bytes, release } = copyOf(chunk, '');
    if (this.queued === 0) this.progressMs = this.#carrier.now();
    this.queued += length;
    this.#carrier.onQueued(length);
    const isLast = this.sentBytes === this.#contentLength;
    if (isLast && release === undefined) {
      // What a small answer holds is given up with its stream.
      this.answered = true;
      this.#stream.end(bytes);
      this.#settle();
      return true;
    }
    const taken = (error?: Error | null): void => {
      // After a failed write who knows by whom the bytes are still held.
      if (error || this.#stream.destroyed) return;
      release?.();
      this.queued -= length;
      this.progressMs = this.#carrier.now();
      this.#carrier.onQueued(-length);
    };
    if (isLast) {
      this.answered = true;
      this.#stream.write(bytes, taken);
      this.#stream.end();
      this.#settle();
      return true;
    }
    if (this.#stream.write(bytes, taken)) return true;
    if (!this.#blocked) this.#stream.once('drain', () => this.#onDrain());
    this.#blocked = true;
    return false;
  }

  end(trailers: FieldList): void {
    if (this.answered) return;
    this.answered = true;
    this.#trailers = trailers;
    this.#release({ endStream: true });
    if (!this.#isOpen) return;
    this.#stream.end();
    // Trailers come first.
    if (!this.#waitsForTrailers) this.#settle();
  }

  /** Only this stream, by RST_STREAM with INTERNAL_ERROR: the others of the connection go on. */
  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    // `close` would end the answer first, and so make half of it look whole.
    this.#stream.destroy(BROKEN_OFF);
  }

  /** The next request is on a stream of its own. */
  closeAfter(): void {}

  get #isOpen(): boolean {
    return !this.destroyed && !this.#stream.destroyed && !this.#stream.closed;
  }

  /** RFC 8441 §5; the service's half of the handshake ends here, so it is checked here. */
  #switch(fields: FieldList): void {
    const key = valueOf(this.head.fields, 'sec-websocket-key') ?? '';
    const expected = createHash('sha1').update(`${key}${WEBSOCKET_GUID}`).digest('base64');
    if (valueOf(fields, 'sec-websocket-accept') !== expected) return this.destroy();
    this.#switched = true;
    this.#respond(
      200,
      fields.filter(([name]) => !HANDSHAKE.has(name)),
      {},
    );
  }

  #release(options: { readonly endStream?: true; readonly waitForTrailers?: true }): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    if (this.#isOpen) this.#respond(held.status, held.fields, options);
  }

  #respond(
    status: number,
    fields: FieldList,
    options: { readonly endStream?: true; readonly waitForTrailers?: true },
  ): void {
    const headers: (string | number)[] = [':status', status];
    for (const [name, value] of fields) headers.push(name, value);
    if (options.waitForTrailers) {
      this.#waitsForTrailers = true;
      this.#stream.once('wantTrailers', () => {
        this.#stream.sendTrailers(headersOf(this.#trailers));
        // Node sends them with the next turn.
        setImmediate(() => this.#settle());
      });
    }
    this.#stream.respond(headers as unknown as OutgoingHttpHeaders, options);
  }

  /** The answer is over: a body that nobody needs any more is not waited for (RFC 9113 §8.1). */
  #settle(): void {
    if (this.complete || this.#switched || !this.#isOpen) return;
    this.#isCutShort = true;
    this.#stream.close(constants.NGHTTP2_NO_ERROR);
    this.#stream.resume();
  }

  #onDrain(): void {
    this.#blocked = false;
    this.#events?.onDrain();
  }

  #onTrailers(raw: readonly string[]): void {
    try {
      this.#received = readHttp2Trailers(raw);
    } catch (error) {
      this.#events?.onBroken(error as Error);
    }
  }

  #onClosed(): void {
    const stream = this.#stream;
    this.delivered = this.answered && !this.destroyed && stream.rstCode === constants.NGHTTP2_NO_ERROR;
    this.#carrier.onQueued(-this.queued);
    this.queued = 0;
    this.#carrier.onOver(this);
    this.#events?.onClose(this.delivered);
  }
}

function valueOf(fields: FieldList, wanted: string): string | undefined {
  for (const [name, value] of fields) if (name === wanted) return value;
  return undefined;
}

/** What stands several times becomes a list. */
function headersOf(fields: FieldList): OutgoingHttpHeaders {
  const headers: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
  for (const [name, value] of fields) {
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else if (typeof before === 'string') headers[name] = [before, value];
    else before.push(value);
  }
  return headers;
}
