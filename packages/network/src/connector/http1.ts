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
  type RequestHead,
  type Timer,
} from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import { ResponseParser } from './http1-parser.ts';
import { RequestWriter } from './http1-request.ts';
import type { ServiceConnection, ServicePool } from './service-pool.ts';
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
  target: SocketAddress,
  onClosed: () => void,
  options: HttpOptions = {},
): Running {
  return new Exchange(deps, stream, target, onClosed, options);
}

class Exchange implements Running {
  readonly #deps: HttpDeps;
  readonly #stream: LinkStream;
  readonly #target: SocketAddress;
  readonly #options: HttpOptions;
  #onClosed: (() => void) | undefined;
  #writer: RequestWriter | undefined;
  #parser: ResponseParser | undefined;
  #connection: ServiceConnection | undefined;
  /** Set after 101: everything goes through it. */
  #pipe: StreamPipe | undefined;
  #timer: Timer | undefined;
  #requestEnded = false;
  #answered = false;
  #answerEnded = false;
  #closed = false;
  /** Bytes after an upgrade request, until the service agrees. */
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #earlyEnd = false;

  constructor(deps: HttpDeps, stream: LinkStream, target: SocketAddress, onClosed: () => void, options: HttpOptions) {
    this.#deps = deps;
    this.#stream = stream;
    this.#target = target;
    this.#onClosed = onClosed;
    this.#options = options;
    stream.listen({
      onHead: () => undefined,
      onData: (chunk) => this.#guard(() => this.#onRequestData(chunk)),
      onEnd: (trailers) => this.#guard(() => this.#onRequestEnd(trailers)),
      onDrain: () => (this.#pipe ? this.#pipe.events.onDrain() : this.#connection?.socket.resume()),
      onClose: (code) => this.#onStreamClosed(code),
    });
    this.#guard(() => this.#begin(stream.requestHead));
  }

  get closed(): boolean {
    return this.#closed;
  }

  abort(code: string): void {
    if (this.#closed) return;
    this.#stream.reset(code);
    this.#close();
  }

  /** Errors of ours end the exchange with their code, also when an event handler throws them. */
  #guard(act: () => void): void {
    if (this.#closed) return;
    try {
      act();
    } catch (error) {
      if (!isMoatError(error)) this.#deps.logger.error({ err: error }, 'an exchange with a service failed');
      this.abort(errorCode(error));
    }
  }

  #begin(head: RequestHead | undefined): void {
    if (!head) return this.abort('REQUEST_INVALID');
    this.#writer = new RequestWriter(head);
    if (!this.#writer.hasBody) this.#requestEnded = this.#writer.upgrade === undefined;
    this.#send({ fresh: false });
  }

  #send({ fresh }: { readonly fresh: boolean }): void {
    const writer = this.#writer as RequestWriter;
    this.#parser = new ResponseParser(writer, {
      // A peer that resets while we write must not see the rest of what is being read.
      onHead: (answer) => {
        if (this.#closed) return;
        if (answer.status >= 200) this.#onFinalHead();
        this.#stream.writeHead(answer);
      },
      onBody: (chunk) => {
        if (!this.#closed && !this.#stream.write(chunk)) this.#connection?.socket.pause();
      },
      onEnd: (trailers) => (this.#closed ? undefined : this.#onAnswerEnd(trailers)),
    });
    const connection = this.#deps.pool.take(this.#target, { fresh });
    this.#connection = connection;
    connection.use({
      onData: (chunk) => this.#guard(() => this.#onAnswerData(chunk)),
      onDrain: () => this.#stream.resume(),
      onEnd: () => this.#guard(() => this.#onServiceEnd()),
      onClose: () => this.#guard(() => this.#onServiceClosed()),
    });
    connection.socket.write(writer.head);
    if (this.#requestEnded || writer.upgrade !== undefined) this.#awaitAnswer();
  }

  #onRequestData(chunk: Uint8Array): void {
    if (this.#pipe) return this.#pipe.events.onData(chunk);
    const writer = this.#writer as RequestWriter;
    if (writer.upgrade !== undefined && !this.#answered) return this.#keepEarly(chunk);
    // What follows a complete answer is read and dropped, so that the answer still gets through.
    if (this.#answerEnded || !this.#connection) return;
    if (writer.upgrade !== undefined) return;
    const bytes = writer.body(chunk);
    if (bytes.length > 0 && !this.#connection.socket.write(bytes)) this.#stream.pause();
  }

  #onRequestEnd(trailers: FieldList): void {
    if (this.#pipe) return this.#pipe.events.onEnd(trailers);
    if (this.#writer?.upgrade !== undefined && !this.#answered) {
      this.#earlyEnd = true;
      return;
    }
    if (this.#requestEnded) return;
    this.#requestEnded = true;
    if (this.#answerEnded) return;
    const bytes = (this.#writer as RequestWriter).end(trailers);
    if (bytes.length > 0) this.#connection?.socket.write(bytes);
    if (!this.#answered) this.#awaitAnswer();
  }

  #onAnswerData(chunk: Buffer): void {
    const parser = this.#parser as ResponseParser;
    const connection = this.#connection;
    const used = parser.execute(chunk);
    // Before anything else: the end of the answer may have closed this exchange, and the surplus still counts.
    if (used < chunk.length && !parser.upgraded) connection?.destroy();
    if (!this.#closed && parser.upgraded) this.#switchProtocols(chunk.subarray(used));
  }

  #onServiceEnd(): void {
    if (this.#retryFresh()) return;
    this.#parser?.finish();
    this.#connection?.destroy();
  }

  #onServiceClosed(): void {
    if (this.#answerEnded) return;
    const connection = this.#connection as ServiceConnection;
    if (this.#retryFresh()) return;
    this.abort(connection.connected ? 'SERVICE_RESET' : 'SERVICE_UNREACHABLE');
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
    this.#timer?.cancel();
    // The service declined to upgrade: nothing more of the request counts.
    this.#early = [];
    if (this.#earlyEnd || this.#writer?.upgrade !== undefined) this.#requestEnded = true;
  }

  #onAnswerEnd(trailers: FieldList): void {
    this.#answerEnded = true;
    const connection = this.#connection as ServiceConnection;
    // May close the stream, and with it this exchange, before it returns.
    this.#stream.end(trailers);
    // Called from inside `execute`: whether surplus bytes follow is known one microtask later.
    queueMicrotask(() => this.#leave(connection));
    if (this.#requestEnded) return;
    this.#stream.resume();
    this.#timer = this.#deps.clock.after(this.#options.unreadTimeoutMs ?? 10_000, () => this.abort('REQUEST_UNREAD'));
  }

  /** Keeps the connection for another request only when both sides are exactly at the end of this one. */
  #leave(connection: ServiceConnection): void {
    const upgrading = this.#writer?.upgrade !== undefined;
    const settled = this.#requestEnded && !upgrading && connection.socket.writableLength === 0;
    const parser = this.#parser as ResponseParser;
    if (settled && parser.reusable && !connection.socket.destroyed)
      this.#deps.pool.give(connection, parser.keepAliveMs);
    else connection.destroy();
    this.#connection = undefined;
  }

  #keepEarly(chunk: Uint8Array): void {
    this.#earlyBytes += chunk.length;
    if (this.#earlyBytes > (this.#options.maxEarlyBytes ?? 256 * 1024)) return this.abort('REQUEST_INVALID');
    this.#early.push(Buffer.from(chunk));
    this.#stream.pause();
  }

  #switchProtocols(first: Buffer): void {
    this.#timer?.cancel();
    this.#answered = true;
    const socket = (this.#connection as ServiceConnection).detach((chunk) => pipe.receive(chunk));
    this.#connection = undefined;
    const pipe = new StreamPipe(this.#stream, socket, 'SERVICE_RESET', () => this.#close());
    this.#pipe = pipe;
    if (first.length > 0 && !this.#stream.write(first)) socket.pause();
    this.#stream.resume();
    for (const chunk of this.#early) pipe.events.onData(chunk);
    this.#early = [];
    if (this.#earlyEnd) pipe.events.onEnd([]);
  }

  #awaitAnswer(): void {
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.after(this.#options.answerTimeoutMs ?? 300_000, () => this.abort('SERVICE_TIMEOUT'));
  }

  #onStreamClosed(code: string | undefined): void {
    this.#pipe?.events.onClose(code);
    // A clean end leaves the connection to #leave, which may keep it.
    if (code === undefined && this.#answerEnded) this.#connection = undefined;
    this.#close();
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
