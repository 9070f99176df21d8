/**
 * The last hop of an `http` stream to a service that speaks HTTP/2 without TLS (`protocol: grpc`): one stream of the link is
 * one stream of a pooled session. Messages flow both ways at once with back-pressure; trailers, an answer that is only
 * its head, resets and cancellations keep their meaning. Order of the files: h2c → h2c-head → h2c-pool.
 */
import { constants, type ClientHttp2Stream, type OutgoingHttpHeaders } from 'node:http2';
import {
  errorCode,
  isMoatError,
  isTrailerAllowed,
  noteReadBuffer,
  type Clock,
  type FieldList,
  type LinkStream,
  type Logger,
  type RequestHead,
  type StreamEvents,
  type Timer,
} from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import { isFieldValue, isToken } from './fields.ts';
import { fieldsOf, h2cHead, invalid } from './h2c-head.ts';
import type { H2cPool, H2cSession } from './h2c-pool.ts';
import type { Running } from './tcp.ts';

export interface H2cDeps {
  readonly sessions: H2cPool;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** How long a peer may go on sending a request that is already answered. */
const UNREAD_MS = 10_000;

/**
 * Serves an accepted `http` stream at `target`; to be called in the turn in which the stream is handed over.
 * Errors reset the stream: `REQUEST_INVALID`, `SERVICE_UNREACHABLE`, `SERVICE_BUSY`, `SERVICE_PROTOCOL`, `SERVICE_RESET`,
 * `REQUEST_UNREAD`. `onClosed` is called once.
 */
export function serveH2c(deps: H2cDeps, stream: LinkStream, target: SocketAddress, onClosed: () => void): Running {
  const exchange = new H2cExchange(deps, stream, target, onClosed);
  exchange.begin();
  return exchange;
}

class H2cExchange implements Running, StreamEvents {
  readonly #deps: H2cDeps;
  readonly #stream: LinkStream;
  readonly #target: SocketAddress;
  #onClosed: (() => void) | undefined;
  #session: H2cSession | undefined;
  #service: ClientHttp2Stream | undefined;
  readonly #cancel = new AbortController();
  /** Bytes of the request's body still to come; undefined = any number. */
  #left: number | undefined;
  #requestEnded = false;
  #requestTrailers: FieldList = [];
  #answered = false;
  #answerEnded = false;
  #trailers: FieldList = [];
  #closed = false;
  /** A place on the session is ours. */
  #taken = false;
  /** For a peer that goes on sending after the answer. */
  #timer: Timer | undefined;

  constructor(deps: H2cDeps, stream: LinkStream, target: SocketAddress, onClosed: () => void) {
    this.#deps = deps;
    this.#stream = stream;
    this.#target = target;
    this.#onClosed = onClosed;
  }

  get closed(): boolean {
    return this.#closed;
  }

  abort(code: string): void {
    if (this.#closed) return;
    this.#stream.reset(code);
    this.#close();
  }

  begin(): void {
    this.#stream.listen(this);
    this.#contained(() => {
      const head = this.#stream.requestHead;
      if (!head) throw invalid('head');
      this.#send(head);
    });
  }

  onHead(): void {}

  onData(chunk: Uint8Array): void {
    const service = this.#service;
    // What follows a complete answer is read and dropped, so that the answer still gets through.
    if (this.#closed || this.#answerEnded || service === undefined || service.destroyed) return;
    if (this.#left !== undefined) {
      this.#left -= chunk.length;
      if (this.#left < 0) return this.abort('REQUEST_INVALID');
    }
    if (this.#requestEnded) return this.abort('REQUEST_INVALID');
    noteReadBuffer(chunk.length);
    if (!service.write(Buffer.from(chunk))) this.#stream.pause();
  }

  onEnd(trailers: FieldList): void {
    if (this.#closed || this.#requestEnded) return;
    this.#requestEnded = true;
    if (this.#left !== undefined && this.#left > 0) return this.abort('REQUEST_INVALID');
    this.#requestTrailers = trailers.filter(
      ([name, value]) => isToken(name) && isFieldValue(value) && isTrailerAllowed(name),
    );
    this.#service?.end();
  }

  onDrain(): void {
    this.#service?.resume();
  }

  onClose(): void {
    this.#close();
  }

  #send(head: RequestHead): void {
    const { headers, contentLength } = h2cHead(head);
    this.#left = contentLength;
    this.#requestEnded = head.bodyless;
    const session = this.#deps.sessions.take(this.#target);
    this.#session = session;
    this.#taken = true;
    const service = session.session.request(headers, {
      endStream: head.bodyless,
      // Whether there are any is known only at the end.
      waitForTrailers: !head.bodyless,
      signal: this.#cancel.signal,
    });
    this.#service = service;
    // Its reason is in `rstCode` and in the session.
    service.on('error', () => undefined);
    service.on('headers', (_headers, _flags, raw) => this.#onAnswerHead(raw, false));
    service.on('response', (_headers, flags, raw) =>
      this.#onAnswerHead(raw, (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0),
    );
    service.on('trailers', (_headers, _flags, raw) => {
      this.#trailers = fieldsOf(raw).filter(([name]) => isTrailerAllowed(name));
    });
    service.on('data', (chunk: Buffer) => {
      noteReadBuffer(chunk.length);
      if (!this.#closed && !this.#stream.write(chunk)) service.pause();
    });
    service.on('end', () => this.#onServiceEnd(service));
    service.on('drain', () => this.#stream.resume());
    service.on('wantTrailers', () => service.sendTrailers(headersOf(this.#requestTrailers)));
    service.once('close', () => this.#onServiceClose(service));
  }

  #onAnswerHead(raw: readonly string[], isLast: boolean): void {
    if (this.#closed || this.#answered) return;
    const status = Number(raw[raw.indexOf(':status') + 1]);
    this.#contained(() => {
      this.#answered = status >= 200;
      this.#stream.writeHead({ status, fields: fieldsOf(raw) });
      // In the same turn, so that a head that is the whole answer stays one.
      if (isLast) this.#endAnswer();
    });
  }

  #onServiceEnd(service: ClientHttp2Stream): void {
    // A stream that was reset ends too, before its answer does.
    const isWhole = this.#answered && service.rstCode === constants.NGHTTP2_NO_ERROR && !this.#cancel.signal.aborted;
    if (isWhole && !this.#closed) this.#contained(() => this.#endAnswer());
  }

  #endAnswer(): void {
    if (this.#answerEnded) return;
    this.#answerEnded = true;
    // May close the stream, and with it this exchange, before it returns.
    this.#stream.end(this.#trailers);
    if (this.#closed || this.#requestEnded) return;
    this.#stream.resume();
    this.#timer = this.#deps.clock.after(UNREAD_MS, () => this.abort('REQUEST_UNREAD'));
  }

  #onServiceClose(service: ClientHttp2Stream): void {
    this.#leave();
    if (this.#closed) return;
    const isWhole = this.#answerEnded && service.rstCode === constants.NGHTTP2_NO_ERROR;
    // The rest of a request whose answer is whole is nobody's any more.
    if (!isWhole) this.abort(this.#codeOf(service));
  }

  #codeOf(service: ClientHttp2Stream): string {
    if (service.rstCode === constants.NGHTTP2_REFUSED_STREAM) return 'SERVICE_BUSY';
    const session = this.#session;
    if (session === undefined || session.spokeHttp2) return 'SERVICE_RESET';
    if (!session.connected) return 'SERVICE_UNREACHABLE';
    return session.socket.bytesRead > 0 ? 'SERVICE_PROTOCOL' : 'SERVICE_RESET';
  }

  /** Errors of ours end the exchange with their code, also when an event handler throws them. */
  #contained(handle: () => void): void {
    try {
      handle();
    } catch (error) {
      if (!isMoatError(error)) this.#deps.logger.error({ err: error }, 'an exchange with a service failed');
      this.abort(errorCode(error));
    }
  }

  #leave(): void {
    const session = this.#session;
    if (session === undefined || !this.#taken) return;
    this.#taken = false;
    this.#deps.sessions.give(session);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    // Not `close`, which would end the request first and so make half of it look whole.
    if (this.#service === undefined) this.#leave();
    else if (!this.#service.destroyed) this.#cancel.abort();
    const onClosed = this.#onClosed;
    this.#onClosed = undefined;
    onClosed?.();
  }
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
