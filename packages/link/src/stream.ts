/** One stream of a link: order, credit and half-close of its two directions. */
import { MoatError, errorCode, isMoatError } from '@moat/core';
import type {
  AcceptHead,
  Arrival,
  FieldList,
  LinkStream,
  OpenRequest,
  PeerId,
  RequestHead,
  StreamEvents,
} from '@moat/core';

import {
  FIRST_STREAM_WINDOW_BYTES,
  LEAST_STREAM_WINDOW_BYTES,
  MAX_STREAM_WINDOW_BYTES,
  PACKETS_WINDOW_BYTES,
  ReceiveWindow,
  SendCredit,
} from './credit.ts';
import { FRAME, frameError, isCode, type FrameType } from './frame.ts';
import type { FrameWriter } from './frame-writer.ts';
import { decodeResponseHead, decodeTrailers, encodeResponseHead, encodeTrailers } from './http-head.ts';
import { SendQueue } from './send-queue.ts';

/**
 * Bytes that may wait unsent before another `write` is an overrun. More than a window, because whoever pipes one
 * stream into another still gets a window's worth after it paused the first.
 */
const MAX_WAITING_BYTES = MAX_STREAM_WINDOW_BYTES + 1024 * 1024;
/** Bytes one stream sends before the next one that waits has its turn. */
const TURN_BYTES = 64 * 1024;
/** 1xx heads before the final one. */
const MAX_INTERIM_HEADS = 16;
const EMPTY: Buffer = Buffer.alloc(0);
const NO_FIELDS: FieldList = [];
/** Of all streams that never had to wait. */
const NOTHING_WAITS = new SendQueue();

/** What a stream needs of its link. */
export interface StreamOwner {
  readonly peer: PeerId;
  readonly writer: FrameWriter;
  /** Credit of the link, shared by its streams. */
  readonly credit: SendCredit;
  /** False while the channel takes no more; only small control frames may be written then. */
  readonly writable: boolean;
  /** True when readers hold so much that windows must not grow. */
  readonly pressed: boolean;
  /** The stream wants its turn when the link can send again. */
  wait(stream: Stream): void;
  /** The stream's reader stands still, or reads again (`bytes` 0), or holds more than before. */
  hold(stream: Stream, bytes: number): void;
  /** The stream is over. */
  forget(stream: Stream): void;
  /** A handler of the stream threw, which is a bug of its owner. */
  report(error: unknown): void;
}

/** Bound: 5 MiB wait unsent; a writer that goes on regardless is reset with `STREAM_OVERRUN`. Received data is never queued. */
export class Stream implements LinkStream {
  readonly id: number;
  readonly request: OpenRequest;
  readonly requestHead: RequestHead | undefined;
  readonly arrival: Arrival | undefined;
  /** True when this side opened it. */
  readonly opener: boolean;
  readonly #owner: StreamOwner;
  readonly #credit: SendCredit = new SendCredit(FIRST_STREAM_WINDOW_BYTES);
  readonly #window: ReceiveWindow = new ReceiveWindow(FIRST_STREAM_WINDOW_BYTES);
  #events: StreamEvents | undefined;
  #queue: SendQueue = NOTHING_WAITS;
  #needsDrain = false;
  /** The acceptor's final head was written, or arrived. */
  #answered = false;
  #interimHeads = 0;
  #paused = false;
  /** Bytes that arrived while the reader stood still. */
  #heldBytes = 0;
  /** The reader stood still since credit was given back last. */
  #lagged = false;
  #ended = false;
  #endSent = false;
  #remoteEnded = false;
  #closed = false;

  constructor(
    owner: StreamOwner,
    id: number,
    opener: boolean,
    request: OpenRequest,
    head: RequestHead | undefined,
    arrival?: Arrival,
  ) {
    this.#owner = owner;
    this.id = id;
    this.opener = opener;
    this.request = request;
    this.requestHead = head;
    this.arrival = arrival;
  }

  /** Packets that wait on their way are worth less than those that are lost: WireGuard's timers go on. */
  get #most(): number {
    return this.request.kind === 'packets' ? PACKETS_WINDOW_BYTES : MAX_STREAM_WINDOW_BYTES;
  }

  get peer(): PeerId {
    return this.#owner.peer;
  }

  get listening(): boolean {
    return this.#events !== undefined;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** True while the peer has not heard of this stream; a stillborn one it never does. */
  get unsent(): boolean {
    return this.id === 0 || this.#queue.first?.type === FRAME.open;
  }

  /** False while the next thing to send is a frame that needs no credit. */
  get waitsForCredit(): boolean {
    const type = this.#queue.first?.type;
    return type === undefined || type === FRAME.data;
  }

  listen(events: StreamEvents): void {
    this.#events = events;
  }

  /** Sends the open frame, behind others that wait; `payload` is borrowed. */
  begin(payload: Buffer, atOnce: boolean): void {
    if (atOnce) this.#owner.writer.frame(FRAME.open, this.id, payload);
    else this.#enqueue(FRAME.open, Buffer.from(payload));
  }

  /** It never leaves: its fate arrives in the next turn, by an event as any other's. */
  endUnsent(code: string): void {
    this.#ended = true;
    setImmediate(() => this.close(code));
  }

  writeHead(head: AcceptHead): void {
    if (this.#closed || this.#ended) return;
    const bare = 'connected' in head;
    if (this.opener || this.#answered || bare !== (this.request.kind !== 'http')) {
      throw new MoatError('HEAD_INVALID', 'only the accepting side answers, once, with a head of the stream’s kind');
    }
    let bytes = EMPTY;
    try {
      if (!bare) bytes = encodeResponseHead(head);
    } catch (error) {
      // It came from a service, and nobody has to catch anything: only its stream is over.
      return this.reset(errorCode(error));
    }
    this.#answered = bare || isFinal(head.status);
    this.#send(FRAME.head, bytes);
  }

  write(chunk: Uint8Array): boolean {
    if (this.#closed || this.#ended) return false;
    if (!this.opener && !this.#answered) throw headMissing();
    let sent = 0;
    if (this.#queue.isEmpty) sent = this.#sendData(chunk, 0, chunk.length);
    if (sent < chunk.length) {
      if (this.#queue.bytes > MAX_WAITING_BYTES) {
        this.reset('STREAM_OVERRUN');
        return false;
      }
      this.#ownQueue().data(sent === 0 ? chunk : chunk.subarray(sent));
      if (this.#credit.available > 0) this.#owner.wait(this);
    }
    if (this.#queue.isEmpty && this.#canSend()) return true;
    this.#needsDrain = true;
    if (this.#credit.available > 0) this.#owner.wait(this);
    return false;
  }

  end(trailers: FieldList = NO_FIELDS): void {
    if (this.#closed || this.#ended) return;
    if (!this.opener && !this.#answered) throw headMissing();
    if (trailers.length > 0 && this.request.kind !== 'http') {
      throw new MoatError('HEAD_INVALID', 'only an http stream has trailers');
    }
    let bytes = EMPTY;
    try {
      if (trailers.length > 0) bytes = encodeTrailers(trailers);
    } catch (error) {
      return this.reset(errorCode(error));
    }
    this.#ended = true;
    this.#send(FRAME.end, bytes);
  }

  reset(code: string): void {
    if (this.#closed) return;
    const known = isCode(code) ? code : 'INTERNAL';
    if (!this.unsent) this.#owner.writer.frame(FRAME.reset, this.id, Buffer.from(known, 'latin1'));
    this.close(known);
  }

  pause(): void {
    if (this.#paused || this.#closed) return;
    this.#paused = true;
    this.#lagged = true;
  }

  resume(): void {
    if (!this.#paused || this.#closed) return;
    this.#paused = false;
    this.#heldBytes = 0;
    this.#owner.hold(this, 0);
    if (this.#window.due) this.#giveBack();
  }

  /** Lets it send what waits, at most one turn's worth. Returns true when its owner may write again: call {@link drained}. */
  takeTurn(): boolean {
    let allowance = TURN_BYTES;
    while (this.#owner.writable && allowance > 0) {
      const item = this.#queue.first;
      if (item === undefined) break;
      if (item.type === FRAME.data) {
        const sent = this.#sendData(item.bytes, item.sent, Math.min(item.length, item.sent + allowance));
        if (sent === item.sent) break;
        allowance -= sent - item.sent;
        item.sent = sent;
        if (sent < item.length) continue;
      } else {
        this.#writeFrame(item.type, item.bytes);
        allowance -= item.length;
      }
      this.#queue.shift(item);
      if (item.type === FRAME.end) this.#sentEnd();
    }
    if (this.#closed) return false;
    if (this.#queue.isEmpty && this.#canSend()) return this.#needsDrain;
    const first = this.#queue.first;
    const ownCredit = this.#credit.available > 0 || (first !== undefined && first.type !== FRAME.data);
    if (ownCredit && (first !== undefined || this.#needsDrain)) this.#owner.wait(this);
    return false;
  }

  drained(): void {
    if (!this.#needsDrain || this.#closed) return;
    this.#needsDrain = false;
    try {
      this.#events?.onDrain();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Credit arrived. @throws `FRAME_INVALID` */
  receiveCredit(bytes: number): void {
    this.#credit.give(bytes);
    if (this.#needsDrain || !this.#queue.isEmpty) this.#owner.wait(this);
  }

  /** @throws `FRAME_INVALID` for a head that may not come here; a malformed one resets only the stream. */
  receiveHead(payload: Buffer): void {
    if (!this.opener || this.#answered) throw frameError('FRAME_INVALID', 'a head out of place', { id: this.id });
    let head: AcceptHead;
    try {
      head = this.#readHead(payload);
    } catch (error) {
      if (!isMoatError(error, 'HEAD_INVALID')) throw error;
      return this.reset('HEAD_INVALID');
    }
    this.#answered = 'connected' in head || isFinal(head.status);
    if (!this.#answered && ++this.#interimHeads > MAX_INTERIM_HEADS) return this.reset('HEAD_INVALID');
    try {
      this.#events?.onHead(head);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** @throws `FRAME_INVALID`, `CREDIT_EXCEEDED` */
  receiveData(piece: Buffer): void {
    this.#checkOrder();
    this.#window.receive(piece.length);
    try {
      this.#events?.onData(piece);
    } catch (error) {
      this.#failed(error);
    }
    if (this.#closed) return;
    if (this.#paused) {
      this.#heldBytes += piece.length;
      this.#owner.hold(this, this.#heldBytes);
    } else if (this.#window.due) this.#giveBack();
  }

  /** @throws `FRAME_INVALID` */
  receiveEnd(payload: Buffer): void {
    this.#checkOrder();
    if (this.request.kind !== 'http' && payload.length > 0) {
      throw frameError('FRAME_INVALID', 'trailers on a stream that is not http', { id: this.id });
    }
    this.#remoteEnded = true;
    let trailers = NO_FIELDS;
    try {
      if (payload.length > 0) trailers = decodeTrailers(payload);
    } catch (error) {
      if (!isMoatError(error, 'HEAD_INVALID')) throw error;
      return this.reset('HEAD_INVALID');
    }
    try {
      this.#events?.onEnd(trailers);
    } catch (error) {
      this.#failed(error);
    }
    if (this.#endSent) this.close(undefined);
  }

  /** Ends both directions without a word to the peer. */
  close(code: string | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#owner.forget(this);
    if (!this.#queue.isEmpty) this.#queue.clear();
    try {
      this.#events?.onClose(code);
    } catch (error) {
      this.#owner.report(error);
    }
  }

  #readHead(payload: Buffer): AcceptHead {
    if (this.request.kind === 'http') return decodeResponseHead(payload);
    if (payload.length > 0)
      throw frameError('FRAME_INVALID', 'a response head on a stream that is not http', { id: this.id });
    return { connected: true };
  }

  #checkOrder(): void {
    if (this.#remoteEnded || (this.opener && !this.#answered)) {
      throw frameError('FRAME_INVALID', 'data before the head or after the end', { id: this.id });
    }
  }

  #canSend(): boolean {
    return this.#owner.writable && this.#credit.available > 0 && this.#owner.credit.available > 0;
  }

  /** Sends as much of `chunk` before `to` as credit and channel take; returns where it stopped. */
  #sendData(chunk: Uint8Array, from: number, to: number): number {
    const owner = this.#owner;
    let at = from;
    while (at < to && owner.writable) {
      const limit = Math.min(to - at, this.#credit.available, owner.credit.available);
      if (limit === 0) break;
      const taken = owner.writer.data(this.id, chunk, at, limit);
      this.#credit.take(taken);
      owner.credit.take(taken);
      at += taken;
    }
    return at;
  }

  /** Sends a head or an end in its place; `bytes` is borrowed. */
  #send(type: FrameType, bytes: Buffer): void {
    if (!this.#queue.isEmpty || !this.#owner.writable) return this.#enqueue(type, Buffer.from(bytes));
    this.#writeFrame(type, bytes);
    if (type === FRAME.end) this.#sentEnd();
  }

  #writeFrame(type: FrameType, bytes: Uint8Array): void {
    if (type === FRAME.end && bytes.length === 0) this.#owner.writer.end(this.id);
    else this.#owner.writer.frame(type, this.id, bytes);
  }

  #enqueue(type: FrameType, bytes: Buffer): void {
    this.#ownQueue().frame(type, bytes);
    this.#owner.wait(this);
  }

  #ownQueue(): SendQueue {
    if (this.#queue === NOTHING_WAITS) this.#queue = new SendQueue();
    return this.#queue;
  }

  #sentEnd(): void {
    this.#endSent = true;
    if (this.#remoteEnded) this.close(undefined);
  }

  #giveBack(): void {
    if (this.#owner.pressed) this.#window.shrink(LEAST_STREAM_WINDOW_BYTES);
    else if (!this.#lagged) this.#window.grow(this.#most);
    this.#lagged = false;
    const bytes = this.#window.giveBack();
    if (bytes === 0 || this.#remoteEnded) return;
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32BE(bytes);
    this.#owner.writer.frame(FRAME.window, this.id, payload);
  }

  #failed(error: unknown): void {
    this.#owner.report(error);
    this.reset('INTERNAL');
  }
}

function isFinal(status: number): boolean {
  return status >= 200 || status === 101;
}

function headMissing(): MoatError<'HEAD_MISSING'> {
  return new MoatError('HEAD_MISSING', 'the accepting side writes its head first');
}
