/**
 * The last hop of a `tcp` stream: bytes between a link's stream and a socket, with half-close and
 * back-pressure both ways, and a reset on one side becoming a reset on the other.
 */
import type { Socket } from 'node:net';
import { noteReadBuffer, type LinkStream, type StreamEvents } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import { sendCopies } from './send.ts';
import { abortSocket, connectTarget, type ConnectDeps } from './connect.ts';

/** Something running that can be ended from outside. */
export interface Running {
  /** True once nothing is left of it. */
  readonly closed: boolean;
  /** Ends both sides now with an error code. */
  abort(code: string): void;
}

/** Silence after which the kernel asks whether the other machine is still there, in milliseconds. */
const KEEPALIVE_MS = 60_000;

/** How long a program may take to read the last bytes of a finished stream, in milliseconds. */
const LINGER_MS = 60_000;

/**
 * Joins `stream` and `socket`. Memory: one chunk beyond the socket's and the stream's own limits.
 * Give its {@link StreamPipe.events} to `stream.listen`, or pass a stream's events on to them.
 */
export class StreamPipe implements Running {
  readonly #stream: LinkStream;
  readonly #socket: Socket;
  readonly #brokenCode: string;
  #onClosed: (() => void) | undefined;
  readonly events: StreamEvents;
  #streamClosed = false;
  #socketClosed = false;

  /** `brokenCode` is what the peer sees when the socket breaks; `onClosed` is called once, when both sides are gone. */
  constructor(stream: LinkStream, socket: Socket, brokenCode: string, onClosed: () => void) {
    this.#stream = stream;
    this.#socket = socket;
    this.#brokenCode = brokenCode;
    this.#onClosed = onClosed;
    this.events = {
      onHead: () => undefined,
      onData: (chunk) => this.#toSocket(chunk),
      onEnd: () => void socket.end(),
      onDrain: () => void socket.resume(),
      onClose: (code) => this.#onStreamClosed(code),
    };
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    socket.on('data', (chunk: Buffer) => {
      noteReadBuffer(chunk.length);
      this.receive(chunk);
    });
    socket.on('drain', () => this.#stream.resume());
    socket.on('end', () => this.#stream.end());
    // 'close' follows every error and does the work.
    socket.on('error', () => undefined);
    socket.on('close', () => this.#onSocketClosed());
  }

  /** What a socket that gives its data elsewhere has read. */
  receive(chunk: Uint8Array): void {
    if (!this.#stream.write(chunk)) this.#socket.pause();
  }

  /** Tells the peer that the service is connected or refused; only for a socket that is still connecting. */
  announce(refusedCode: string): void {
    let connected = false;
    this.#socket.once('connect', () => {
      connected = !this.#socket.destroyed;
      if (connected && !this.#streamClosed) this.#stream.writeHead({ connected: true });
    });
    this.#socket.prependOnceListener('close', () => {
      if (!connected) this.abort(refusedCode);
    });
  }

  get closed(): boolean {
    return this.#onClosed === undefined;
  }

  abort(code: string): void {
    if (!this.#streamClosed) {
      this.#streamClosed = true;
      this.#stream.reset(code);
    }
    abortSocket(this.#socket);
    this.#finish();
  }

  #toSocket(chunk: Uint8Array): void {
    if (!this.#socket.destroyed && !sendCopies(this.#socket, [chunk])) this.#stream.pause();
  }

  #onStreamClosed(code: string | undefined): void {
    if (this.#streamClosed) return;
    this.#streamClosed = true;
    // After a clean end both directions are done; the socket closes once it has sent what it holds.
    if (code !== undefined) abortSocket(this.#socket);
    else if (!this.#socket.destroyed) this.#socket.setTimeout(LINGER_MS, () => abortSocket(this.#socket));
    this.#finish();
  }

  #onSocketClosed(): void {
    this.#socketClosed = true;
    const clean = this.#socket.readableEnded && this.#socket.writableFinished;
    if (!this.#streamClosed && !clean) {
      this.#streamClosed = true;
      this.#stream.reset(this.#brokenCode);
    }
    this.#finish();
  }

  #finish(): void {
    if (!this.#streamClosed || !(this.#socketClosed || this.#socket.destroyed)) return;
    const onClosed = this.#onClosed;
    this.#onClosed = undefined;
    onClosed?.();
  }
}

/** Connects an accepted `tcp` stream to `target`. `onClosed` is called once, when both sides are gone. */
export function serveTcp(
  deps: ConnectDeps,
  stream: LinkStream,
  { target, preamble }: { readonly target: SocketAddress; readonly preamble?: Uint8Array | undefined },
  onClosed: () => void,
): Running {
  const socket = connectTarget(deps, target, { onRead: (buffer, length) => pipe.receive(buffer.subarray(0, length)) });
  const pipe = new StreamPipe(stream, socket, 'SERVICE_RESET', onClosed);
  pipe.announce('SERVICE_UNREACHABLE');
  // Queued until the target takes the connection.
  if (preamble !== undefined) socket.write(preamble);
  stream.listen(pipe.events);
  return pipe;
}
