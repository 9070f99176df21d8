/**
 * The last hop of an `http` stream: a structured request in, HTTP/1.1 to the service, a structured answer
 * back. Order of the files: http1 → http1-request → service-pool → http1-parser.
 *
 * One {@link Exchange} a stream. Bodies flow both ways with back-pressure and are never collected; heads and
 * 1xx are passed on the moment they are read, so server-sent events are not held up.
 */
import {
  errorCode,
  isMoatError,
  type Clock,
  type FieldList,
  type LinkStream,
  type Logger,
  type ResponseHead,
  type StreamEvents,
  type Timer,
} from '@moat/core';
import type { IntroducedAddress } from '../exposed.ts';
import { ResponseParser, type ResponseEvents } from './http1-parser.ts';
import { RequestWriter } from './http1-request.ts';
import { RequestSender } from './request-sender.ts';
import { sendShared, sharedBuffer } from './send.ts';
import type { ConnectionUser, ServiceConnection, ServicePool } from './service-pool.ts';
import { StreamPipe, type Running } from './tcp.ts';

export interface HttpDeps {
  readonly pool: ServicePool;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface HttpOptions {
  /** From the end of the request to the final head of the answer. @defaultValue 300000 */
  readonly answerTimeoutMs?: number;
  /** How long a peer may go on sending a request that is already answered. @defaultValue 10000 */
  readonly unreadTimeoutMs?: number;
  /** Bytes kept of what follows an upgrade request before the service agreed. @defaultValue 262144 */
  readonly maxEarlyBytes?: number;
}

/**
 * Serves an accepted `http` stream at `target`; to be called in the turn in which the stream is handed over.
 * Errors reset the stream: `REQUEST_INVALID`, `SERVICE_UNREACHABLE`, `SERVICE_BUSY`, `SERVICE_PROTOCOL`,
 * `SERVICE_TIMEOUT`, `SERVICE_RESET`, `REQUEST_UNREAD`. `onClosed` is called once.
 */
export function serveHttp(
  deps: HttpDeps,
  stream: LinkStream,
  target: IntroducedAddress,
  onClosed: () => void,
  options: HttpOptions = NO_OPTIONS,
): Running {
  const exchange = new Exchange(deps, stream, target, onClosed, options);
  exchange.begin();
  return exchange;
}

/** What a request's end in the link reports; every stream has one. */
class RequestEvents implements StreamEvents {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  onHead(): void {}

  onData(chunk: Uint8Array): void {
    this.#exchange.onRequestData(chunk);
  }

  onEnd(trailers: FieldList): void {
    this.#exchange.onRequestEnd(trailers);
  }

  onDrain(): void {
    this.#exchange.onRequestDrain();
  }

  onClose(code: string | undefined): void {
    this.#exchange.onStreamClosed(code);
  }
}

const NO_OPTIONS: HttpOptions = {};

class Exchange implements Running, ConnectionUser, ResponseEvents {
  readonly #deps: HttpDeps;
  readonly #stream: LinkStream;
  readonly #target: IntroducedAddress;
  readonly #options: HttpOptions;
  #onClosed: (() => void) | undefined;
  #writer: RequestWriter | undefined;
  #parser: ResponseParser | undefined;
  #connection: ServiceConnection | undefined;
  /** Set after 101: everything goes through it. */
  #pipe: StreamPipe | undefined;
  /** For a peer that goes on sending after the answer. */
  #timer: Timer | undefined;
  /** Only for a request with a body. */
  #sender: RequestSender | undefined;
  #requestEnded = false;
  #answered = false;
  #answerEnded = false;
  #closed = false;
  /** Bytes after an upgrade request, until the service agrees. */
  #early: Buffer[] | undefined;
  #earlyBytes = 0;
  #earlyEnd = false;

  constructor(
    deps: HttpDeps,
    stream: LinkStream,
    target: IntroducedAddress,
    onClosed: () => void,
    options: HttpOptions,
  ) {
    this.#deps = deps;
    this.#stream = stream;
    this.#target = target;
    this.#onClosed = onClosed;
    this.#options = options;
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
    this.#stream.listen(new RequestEvents(this));
    try {
      this.#send({ fresh: false });
    } catch (error) {
      this.#fail(error);
    }
  }

  onRequestData(chunk: Uint8Array): void {
    if (this.#closed) return;
    if (this.#pipe) return this.#pipe.events.onData(chunk);
    const writer = this.#writer as RequestWriter;
    // What follows a complete answer is read and dropped, so that the answer still gets through.
    if (this.#answerEnded || !this.#connection) return;
    if (writer.upgrade !== undefined) return this.#answered ? undefined : this.#keepEarly(chunk);
    try {
      // Refuses a body where none was announced.
      const pieces = writer.body(chunk);
      this.#sender?.write(pieces);
    } catch (error) {
      this.#fail(error);
    }
  }

  onRequestEnd(trailers: FieldList): void {
    if (this.#closed) return;
    if (this.#pipe) return this.#pipe.events.onEnd(trailers);
    const writer = this.#writer as RequestWriter;
    if (writer.upgrade !== undefined && !this.#answered) {
      this.#earlyEnd = true;
      return;
    }
    if (this.#requestEnded) return;
    this.#requestEnded = true;
    if (this.#answerEnded) return;
    try {
      const pieces = writer.end(trailers);
      this.#sender?.write(pieces);
      this.#sender?.flush();
    } catch (error) {
      return this.#fail(error);
    }
    if (!this.#answered) this.#awaitAnswer();
  }

  onRequestDrain(): void {
    if (this.#pipe) this.#pipe.events.onDrain();
    else this.#connection?.socket.resume();
  }

  onStreamClosed(code: string | undefined): void {
    this.#pipe?.events.onClose(code);
    // A clean end leaves the connection to #leave, which may keep it.
    if (code === undefined && this.#answerEnded) this.#connection = undefined;
    this.#close();
  }

  onServiceData(buffer: Buffer, length: number): void {
    if (this.#closed) return;
    const parser = this.#parser as ResponseParser;
    const connection = this.#connection as ServiceConnection;
    try {
      const used = parser.execute(buffer, length);
      // The end of the answer may have closed this exchange.
      if (parser.complete) this.#leave(connection, parser, used < length);
      else if (!this.#closed && parser.upgraded) this.#switchProtocols(buffer.subarray(used, length));
    } catch (error) {
      this.#fail(error);
    }
  }

  onServiceDrain(): void {
    this.#stream.resume();
  }

  onServiceEnd(): void {
    if (this.#closed) return;
    try {
      if (this.#retryFresh()) return;
      const connection = this.#connection;
      this.#parser?.finish();
      connection?.destroy();
    } catch (error) {
      this.#fail(error);
    }
  }

  onServiceClose(): void {
    if (this.#closed || this.#answerEnded) return;
    const connection = this.#connection as ServiceConnection;
    try {
      if (!this.#retryFresh()) this.abort(connection.connected ? 'SERVICE_RESET' : 'SERVICE_UNREACHABLE');
    } catch (error) {
      this.#fail(error);
    }
  }

  onServiceTimeout(): void {
    this.abort('SERVICE_TIMEOUT');
  }

  onHead(head: ResponseHead): void {
    // A peer that resets while we write must not see the rest of what is being read.
    if (this.#closed) return;
    if (head.status >= 200) this.#onFinalHead();
    this.#stream.writeHead(head);
  }

  onBody(chunk: Buffer): void {
    if (!this.#closed && !this.#stream.write(chunk)) this.#connection?.socket.pause();
  }

  onEnd(trailers: FieldList): void {
    if (this.#closed) return;
    this.#answerEnded = true;
    // May close the stream, and with it this exchange, before it returns.
    this.#stream.end(trailers);
    if (this.#requestEnded || this.#closed) return;
    this.#stream.resume();
    this.#timer = this.#deps.clock.after(this.#options.unreadTimeoutMs ?? 10_000, () => this.abort('REQUEST_UNREAD'));
  }

  /** Errors of ours end the exchange with their code, also when an event handler throws them. */
  #fail(error: unknown): void {
    if (!isMoatError(error)) this.#deps.logger.error({ err: error }, 'an exchange with a service failed');
    this.abort(errorCode(error));
  }

  #send({ fresh }: { readonly fresh: boolean }): void {
    const head = this.#stream.requestHead;
    if (!head) return this.abort('REQUEST_INVALID');
    const into = sharedBuffer();
    const writer = new RequestWriter(head, into);
    this.#writer = writer;
    this.#requestEnded = !writer.hasBody && writer.upgrade === undefined;
    this.#parser = new ResponseParser(writer, this);
    const connection = this.#deps.pool.take(this.#target, { fresh });
    this.#connection = connection;
    connection.use(this);
    if (writer.hasBody) {
      this.#sender = new RequestSender(connection.socket, this.#stream, into.subarray(0, writer.headBytes));
      return;
    }
    sendShared(connection.socket, writer.headBytes);
    this.#awaitAnswer();
  }

  /** A kept connection may close just when we use it: what is harmless to send twice is sent again, once. */
  #retryFresh(): boolean {
    const connection = this.#connection;
    if (!connection?.reused || this.#parser?.started || !this.#writer?.replayable) return false;
    connection.destroy();
    this.#send({ fresh: true });
    return true;
  }

  #onFinalHead(): void {
    this.#answered = true;
    if (this.#connection) this.#connection.expiresAt = Infinity;
    if (this.#writer?.upgrade === undefined) return;
    // The service declined to upgrade: nothing more of the request counts.
    this.#early = undefined;
    this.#requestEnded = true;
  }

  /** Keeps the connection for another request only when both sides are exactly at the end of this one. */
  #leave(connection: ServiceConnection, parser: ResponseParser, surplus: boolean): void {
    this.#connection = undefined;
    const settled = this.#requestEnded && this.#writer?.upgrade === undefined && connection.socket.writableLength === 0;
    if (settled && !surplus && parser.reusable) this.#deps.pool.give(connection, parser.keepAliveMs);
    else connection.destroy();
  }

  #keepEarly(chunk: Uint8Array): void {
    this.#earlyBytes += chunk.length;
    if (this.#earlyBytes > (this.#options.maxEarlyBytes ?? 256 * 1024)) return this.abort('REQUEST_INVALID');
    this.#early ??= [];
    this.#early.push(Buffer.from(chunk));
    this.#stream.pause();
  }

  #switchProtocols(first: Buffer): void {
    this.#answered = true;
    const socket = (this.#connection as ServiceConnection).detach((chunk) => pipe.receive(chunk));
    this.#connection = undefined;
    const pipe = new StreamPipe(this.#stream, socket, 'SERVICE_RESET', () => this.#close());
    this.#pipe = pipe;
    if (first.length > 0 && !this.#stream.write(first)) socket.pause();
    this.#stream.resume();
    for (const chunk of this.#early ?? []) pipe.events.onData(chunk);
    this.#early = undefined;
    if (this.#earlyEnd) pipe.events.onEnd([]);
  }

  #awaitAnswer(): void {
    this.#connection?.expireIn(this.#options.answerTimeoutMs ?? 300_000);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#connection?.destroy();
    this.#connection = undefined;
    const onClosed = this.#onClosed;
    this.#onClosed = undefined;
    onClosed?.();
  }
}
