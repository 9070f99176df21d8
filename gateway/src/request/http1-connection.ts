/**
 * One client connection that speaks HTTP/1.1: bytes into the parser, requests out of it one after the other, answers in
 * that order. Nothing is read ahead of the request in work: what came behind it waits, at most five reads of the socket,
 * and then the socket with it.
 */
import type { Socket } from 'node:net';
import { noteReadBuffer, readInto, type FieldList } from '@moat/core';
import { refusal } from '../errors.ts';
import type { ClientAddress, ClientRequest } from './client-request.ts';
import { Output, type OutputEvents } from './http1-output.ts';
import { RequestParser, type ParserEvents, type ParserRules } from './http1-parser.ts';
import { Http1Request, type RequestCarrier } from './http1-request.ts';
import type { ParsedHead } from './parse.ts';

export interface ConnectionDeps {
  now(): number;
  /** A short random id. */
  newId(): string;
  /** Takes over a request. */
  serve(request: ClientRequest): void;
  /** The whole answer to bytes that are no request. */
  answerUnreadable(client: ClientAddress, servername: string, error: Error): Buffer;
}

export interface ConnectionOptions extends ParserRules {
  /** Time for a head to arrive, from its first byte; of the first head, from the beginning of the connection. */
  readonly headMs: number;
  /** Time between two requests, for the client to take more of answers that are over, and of silence before it. */
  readonly idleMs: number;
}

/** How long a client that said it sends no more may wait for the next of its answer: most of them have left. */
const HALF_CLOSED_MS = 3_000;
/** Reads of the socket that wait behind the first that does; a read is 16 KiB, without TLS 64. */
const MAX_BEHIND = 4;
/** How long a client that has its last answer may go on sending before its connection is reset. */
const LINGER_MS = 1_000;

/** It is the listener of its parts: an idle client costs memory for each closure. */
export class Http1Connection implements RequestCarrier, ParserEvents, OutputEvents {
  readonly output: Output;
  readonly #deps: ConnectionDeps;
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  readonly #client: ClientAddress;
  readonly #servername: string;
  readonly #parser: RequestParser;
  /** The request whose body is read or whose answer is written. */
  #current: Http1Request | undefined;
  /** Answered, but not yet with the operating system. */
  #unsent: Http1Request[] = [];
  /** What came and cannot be read yet, from `#restAt`; then what came after it. */
  #rest: Buffer | undefined;
  #restAt = 0;
  #behind: Buffer[] = [];
  #advancing = false;
  #served = false;
  /** The client sends no more. */
  #ended = false;
  /** Answers are over; what still comes is thrown away. */
  #lingering = false;
  /** The next answer to begin is the last. */
  #retiring = false;
  /** The running answer is the last. */
  #draining = false;
  /** When the present wait began: for a head, for the next request, for the client to take more or to leave. */
  #sinceMs: number;

  constructor(
    deps: ConnectionDeps,
    options: ConnectionOptions,
    from: { readonly socket: Socket; readonly client: ClientAddress; readonly servername: string },
  ) {
    this.#deps = deps;
    this.#options = options;
    this.#socket = from.socket;
    this.#client = from.client;
    this.#servername = from.servername;
    this.#sinceMs = deps.now();
    this.output = new Output(from.socket, this);
    this.#parser = new RequestParser(options, this);
    const { socket } = from;
    // What Node has read already it hands over itself.
    if (socket.readableLength > 0 || !readInto(socket, (chunk) => this.#onData(chunk))) {
      socket.on('data', (chunk: Buffer) => {
        noteReadBuffer(chunk.length);
        this.#onData(chunk);
      });
    }
    socket.resume();
    socket.on('end', () => {
      this.#ended = true;
      this.#sinceMs = this.#deps.now();
      this.#onClientEnd();
    });
    socket.on('close', () => this.#onSocketClose());
  }

  get isEnding(): boolean {
    return this.#retiring || (this.#ended && this.#rest === undefined);
  }

  /** To call now and then: ends what waits too long. */
  watch(nowMs: number): void {
    const waitedMs = nowMs - this.#sinceMs;
    if (this.#lingering) {
      if (waitedMs > (!this.output.isEmpty ? this.#options.idleMs : LINGER_MS)) this.#socket.destroy();
    } else if (this.#current === undefined) {
      const isIdle = this.#isIdle;
      if (waitedMs <= (isIdle && this.#served ? this.#options.idleMs : this.#options.headMs)) return;
      if (isIdle) this.#socket.destroy();
      else this.#refuse(refusal('HEAD_TIMEOUT', 'the head of the request took too long'));
    } else if (this.output.isEmpty && waitedMs > this.#silenceMs(this.#current)) {
      // With what a client does not take, the exchange is as patient as with any.
      this.#socket.destroy();
    }
  }

  /** How long a running answer may have nothing to send. */
  #silenceMs(current: Http1Request): number {
    if (this.#ended) return current.switched ? this.#options.idleMs : HALF_CLOSED_MS;
    // Behind what is not read for so long the client may have left unseen.
    return this.#rest !== undefined && current.complete && current.headSent ? this.#options.idleMs : Infinity;
  }

  /** Ends now where nothing runs, else behind the running answer. */
  drain(): void {
    this.#retiring = this.#draining = true;
    if (this.#current === undefined) this.#linger();
  }

  /** Ends behind the next answer; until then it may wait as long as ever. */
  retire(): void {
    this.#retiring = true;
  }

  destroy(): void {
    // What can still leave tells the client that there was more to come.
    this.output.flush();
    this.#socket.destroy();
  }

  endWriting(): void {
    this.output.flush();
    this.#socket.end();
  }

  onAnswered(request: Http1Request): void {
    this.#unsent.push(request);
    if (this.output.isEmpty && !this.#socket.destroyed) this.#settle();
    if (request.complete && !request.closing) {
      this.#current = undefined;
      this.#served = true;
      this.#sinceMs = this.#deps.now();
      this.#parser.next();
      // Who was not told that this answer is the last may be sending again already.
      if (this.#rest === undefined && (this.#ended || this.#draining)) this.#linger();
      else this.advance();
    } else {
      // Unread body would be taken for the next request.
      this.#linger();
    }
  }

  /** Feeds the parser as far as the request in work allows. */
  advance(): void {
    if (this.#advancing) return;
    this.#advancing = true;
    try {
      while (this.#rest !== undefined && this.#mayRead()) this.#read(this.#rest);
    } catch (error) {
      this.#forgetRest();
      if (this.#current === undefined) this.#refuse(error as Error);
      else this.#current.onBroken(error as Error);
    } finally {
      this.#advancing = false;
    }
    if (this.#rest !== undefined) return;
    if (this.#ended) this.#onClientEnd();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** `chunk` is borrowed until this returns. */
  #onData(chunk: Buffer): void {
    // Behind a body that broke the parser stands in its middle.
    if (this.#lingering || this.#current?.broken === true) return;
    if (this.#current?.complete === true) this.#sinceMs = this.#deps.now();
    if (this.#rest !== undefined) {
      this.#behind.push(copied(chunk, 0));
      // Not before: of a socket that is not read nobody learns that its client has left.
      if (this.#behind.length >= MAX_BEHIND) this.#socket.pause();
      return;
    }
    this.#rest = chunk;
    this.#restAt = 0;
    this.advance();
    if (this.#rest !== chunk) return;
    this.#rest = copied(chunk, this.#restAt);
    this.#restAt = 0;
  }

  /** Nothing of a request has come. */
  get #isIdle(): boolean {
    return this.#current === undefined && this.#parser.isBetween;
  }

  #mayRead(): boolean {
    const current = this.#current;
    if (this.#lingering || this.#socket.destroyed) return false;
    // Who does not take the answers to what it asked may not ask more.
    if (current === undefined) return !this.output.isBlocked;
    return current.wantsBody && !current.complete;
  }

  #read(rest: Buffer): void {
    const current = this.#current;
    if (current?.switched === true) {
      const from = this.#restAt;
      this.#nextRest();
      current.onBody(from === 0 ? rest : rest.subarray(from));
      return;
    }
    if (this.#served && this.#isIdle) this.#sinceMs = this.#deps.now();
    this.#restAt = this.#parser.execute(rest, this.#restAt);
    if (this.#restAt === rest.length) this.#nextRest();
  }

  #nextRest(): void {
    this.#rest = this.#behind.length === 0 ? undefined : this.#behind.shift();
    this.#restAt = 0;
  }

  #forgetRest(): void {
    this.#rest = undefined;
    this.#behind = [];
  }

  onHead(head: ParsedHead): void {
    const request = new Http1Request(this, {
      id: this.#deps.newId(),
      startedMs: this.#deps.now(),
      client: this.#client,
      servername: this.#servername,
      head,
    });
    this.#current = request;
    if (head.bodyless && head.upgrade === undefined) request.complete = true;
    // What follows may be another protocol: only an answer of 101 leaves the connection open.
    if (head.upgrade !== undefined) request.closing = true;
    this.#deps.serve(request);
  }

  onBody(chunk: Buffer): boolean {
    return this.#current?.onBody(chunk) === true && !this.#lingering;
  }

  onEnd(trailers: FieldList): void {
    const current = this.#current;
    if (current === undefined || current.complete) return;
    current.onBodyEnd(trailers);
  }

  /** The client sends no more and all it sent was read. */
  #onClientEnd(): void {
    const current = this.#current;
    // It closes by itself once the last answer is with the operating system; who does not take it is watched.
    if (this.#rest !== undefined || this.#lingering) return;
    if (current === undefined) this.#linger();
    else if (current.complete) return;
    else if (current.switched) current.onBodyEnd([]);
    // The answer to a whole request is still wanted; half a body has nothing to wait for.
    else if (!current.broken) current.onBroken(refusal('REQUEST_MALFORMED', 'the request ends before its body does'));
  }

  #onSocketClose(): void {
    const delivered = !this.#socket.errored && this.#current?.switched === true && this.#current.answered;
    this.#forgetRest();
    for (const request of this.#unsent.splice(0)) request.onClose(false);
    this.#current?.onClose(delivered);
  }

  #refuse(error: Error): void {
    if (!this.#socket.writable) return void this.#socket.destroy();
    this.output.write('', this.#deps.answerUnreadable(this.#client, this.#servername, error));
    this.#linger();
  }

  /** Closed at once, the client may see a reset before the answer: what it still sends is read and thrown away. */
  #linger(): void {
    if (this.#lingering || this.#socket.destroyed) return;
    this.#lingering = true;
    this.#forgetRest();
    this.#sinceMs = this.#deps.now();
    this.output.flush();
    this.#socket.end();
    if (this.#ended) return;
    this.#socket.resume();
  }

  onDrain(): void {
    if (this.#current === undefined) this.advance();
    else this.#current.onDrain();
  }

  onWritten(): void {
    if (this.#ended || this.#lingering || this.#rest !== undefined || this.#isIdle) this.#sinceMs = this.#deps.now();
    if (this.output.isEmpty) this.#settle();
  }

  #settle(): void {
    if (this.#unsent.length === 0) return;
    const sent = this.#unsent;
    this.#unsent = [];
    for (const request of sent) request.onClose(true);
  }
}

/** `chunk` from `from` on, in memory of its own: what waits must not hold more than itself. */
function copied(chunk: Buffer, from: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(chunk.length - from);
  chunk.copy(copy, 0, from);
  return copy;
}
