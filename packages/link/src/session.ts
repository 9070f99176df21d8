/**
 * A link: many streams over one byte channel. Frames in → streams; streams → frames out, one flush a loop turn.
 * Received data goes straight to the reader, so the only memory here is what waits to be sent.
 */
import { MoatError, errorCode, isMoatError } from '@moat/core';
import type {
  Arrival,
  ByteChannel,
  Clock,
  Link,
  LinkPath,
  LinkStream,
  Logger,
  OpenRequest,
  PeerId,
  RequestHead,
  StreamAcceptor,
} from '@moat/core';

import { decodeArrival } from './arrival.ts';
import type { ResumableChannel } from './channel.resumable.ts';
import { ReceiveWindow, SendCredit } from './credit.ts';
import { FRAME, FrameDecoder, frameError, readCode, type FrameSink, type FrameType } from './frame.ts';
import { FrameWriter } from './frame-writer.ts';
import { decodeRequestHead } from './http-head.ts';
import { Heartbeat } from './heartbeat.ts';
import { DEFAULT_LIMITS, type SessionLimits } from './limits.ts';
import { decodeOpen, tryEncodeOpen } from './open.ts';
import { Marks } from './marks.ts';
import { Pings } from './pings.ts';
import { RateLimit } from './rate.ts';
import { Stream, type StreamOwner } from './stream.ts';
import { StreamTable } from './stream-table.ts';
import { Turns } from './turns.ts';

/** Milliseconds the last frames get before the channel is torn down. */
const LINGER_MS = 1000;
const ENDS_NOW = 1;
/** Ids beyond this end a link's life early; they never wrap. */
const LAST_ID = 2 ** 32 - 2 ** 20;

export interface SessionDeps {
  readonly channel: ByteChannel;
  /** The same channel, where it outlives its sockets. */
  readonly resumable?: ResumableChannel;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly accept: StreamAcceptor;
  /** Called once when the link is over. */
  readonly onClosed?: (session: Session) => void;
  /** The peer does not answer: another path may be better. */
  readonly onSuspect?: (session: Session) => void;
  /** The link has carried enough: replace it. Called at every look from then on. */
  readonly onWorn?: (session: Session) => void;
}

export interface SessionOptions {
  readonly peer: PeerId;
  readonly path: LinkPath;
  /** True on the side that dialed the link; it opens streams with odd ids. */
  readonly dialer: boolean;
  readonly limits?: Partial<SessionLimits>;
}

/** Bounds: see {@link SessionLimits}; each names what is dropped. */
export class Session implements Link, StreamOwner, FrameSink {
  readonly peer: PeerId;
  readonly dialer: boolean;
  readonly createdAt: number;
  readonly writer: FrameWriter;
  readonly credit: SendCredit;
  readonly #deps: SessionDeps;
  readonly #limits: SessionLimits;
  readonly #window: ReceiveWindow;
  readonly #decoder: FrameDecoder;
  readonly #heartbeat: Heartbeat;
  readonly #pings: Pings;
  /** Only on a link that can move. */
  readonly #marks: Marks | undefined;
  readonly #openRate: RateLimit;
  readonly #resetRate: RateLimit;
  readonly #closing = new AbortController();
  readonly closed: AbortSignal = this.#closing.signal;
  readonly #gone = Promise.withResolvers<void>();
  /** Resolves when the channel is closed too, at most a second after {@link closed}. */
  readonly gone: Promise<void> = this.#gone.promise;
  readonly #streams = new StreamTable();
  readonly #turns: Turns;
  /** Streams whose reader stands still, longest first, with the bytes it holds. */
  readonly #held = new Map<Stream, number>();
  #heldBytes = 0;
  #peerStreams = 0;
  #nextId: number;
  #lastPeerId = 0;
  #writable = true;
  #over = false;
  #leaving = false;
  #goodbye: AbortController | undefined;
  #peerLeaving = false;
  #bytes = 0;
  #path: LinkPath;

  constructor(deps: SessionDeps, options: SessionOptions) {
    this.#deps = deps;
    this.peer = options.peer;
    this.#path = options.path;
    this.dialer = options.dialer;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.createdAt = deps.clock.now();
    this.#nextId = options.dialer ? 1 : 2;
    this.credit = new SendCredit(this.#limits.linkWindowBytes);
    this.#window = new ReceiveWindow(this.#limits.linkWindowBytes);
    this.writer = new FrameWriter((bytes, ofStreams, onTaken) => this.#send(bytes, ofStreams, onTaken));
    this.#turns = new Turns({
      writer: this.writer,
      isWritable: () => this.#writable,
      hasCredit: () => this.credit.available > 0,
    });
    this.#decoder = new FrameDecoder(this);
    const { channel, resumable } = deps;
    this.#pings = new Pings(this.writer, (offset) => {
      resumable?.near(this.#pings.leastRttMs);
      resumable?.acknowledged(offset);
    });
    this.#marks = resumable && new Marks(this.writer, this.#pings);
    this.#openRate = new RateLimit(deps.clock, this.#limits.opens);
    this.#resetRate = new RateLimit(deps.clock, this.#limits.resets);
    this.#heartbeat = new Heartbeat(
      {
        clock: deps.clock,
        sendPing: () => this.#pings.send(),
        onSuspect: () => deps.onSuspect?.(this),
        onDead: () => {
          if (resumable === undefined) this.#fail('LINK_DEAD');
          else resumable.lose();
        },
        onLook: () => {
          this.#checkWear();
          this.#marks?.look();
        },
      },
      this.#limits.heartbeat,
    );
    channel.onData = (chunk) => this.#receive(chunk);
    channel.onDrain = () => this.#onDrain();
    channel.onEnd = () => this.#fail('LINK_CLOSED');
    channel.onClose = (error) => {
      this.#gone.resolve();
      this.#finish(isMoatError(error) ? error.code : 'LINK_CLOSED');
    };
  }

  get path(): LinkPath {
    return this.#path;
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** Streams that either side has opened so far. */
  get openedStreams(): number {
    return (this.#nextId >> 1) + ((this.#lastPeerId + 1) >> 1);
  }

  get rttMs(): number | undefined {
    return this.#pings.rttMs;
  }

  get writable(): boolean {
    return this.#writable;
  }

  get pressed(): boolean {
    return this.#heldBytes > this.#limits.heldBytes / 2;
  }

  /** True while new streams may be opened here. */
  get usable(): boolean {
    const { resumable } = this.#deps;
    return this.movable && this.#nextId < 2 ** 32 && resumable?.lost !== true;
  }

  /** Made when somebody asks: a gateway has thousands of links. */
  get leaving(): AbortSignal {
    this.#goodbye ??= new AbortController();
    if (!this.movable) this.#goodbye.abort();
    return this.#goodbye.signal;
  }

  /** True while the link is worth another path. */
  get movable(): boolean {
    return !this.#over && !this.#leaving && !this.#peerLeaving;
  }

  /** True while the peer leaves questions unanswered. */
  get suspect(): boolean {
    return this.#heartbeat.suspect;
  }

  /** The link goes on over another path. The window follows it: more credit is given at once, less as it is used up. */
  moved(path: LinkPath, linkWindowBytes: number): void {
    if (this.#over) return;
    this.#path = path;
    this.#heartbeat.heard();
    this.#pings.forget();
    this.#window.resize(linkWindowBytes);
    if (this.#window.due) this.#giveBack();
    // What the peer has by now need not be kept.
    this.#marks?.ask();
  }

  open(request: OpenRequest, head?: RequestHead, arrival?: Arrival): LinkStream {
    if (!this.usable) throw new MoatError('LINK_CLOSED', 'the link takes no new streams', { retryable: true });
    const payload = tryEncodeOpen(request, head, arrival);
    if (typeof payload === 'string') {
      const stillborn = new Stream(this, 0, true, request, undefined);
      stillborn.endUnsent(payload);
      return stillborn;
    }
    const stream = new Stream(this, this.#nextId, true, request, undefined);
    this.#nextId += 2;
    this.#streams.add(stream);
    // Ids rise on the wire: an open never overtakes one that waits, and those wait only in these two cases.
    stream.begin(payload, this.#writable && !this.#turns.running);
    return stream;
  }

  ping(signal: AbortSignal): Promise<number> {
    if (this.#over) return Promise.reject(this.closed.reason as Error);
    return this.#pings.ask(AbortSignal.any([signal, this.closed]));
  }

  close(code?: string): void {
    if (code !== undefined) return this.#fail(code);
    this.#leave();
    this.#endIfDrained();
  }

  // --- StreamOwner

  wait(stream: Stream): void {
    this.#turns.wait(stream);
  }

  hold(stream: Stream, bytes: number): void {
    this.#heldBytes += bytes - (this.#held.get(stream) ?? 0);
    if (bytes === 0) this.#held.delete(stream);
    else this.#held.set(stream, bytes);
    if (this.#heldBytes <= this.#limits.heldBytes) return;
    for (const [longest] of this.#held) return longest.reset('STREAM_STALLED');
  }

  forget(stream: Stream): void {
    if (this.#heldBytes > 0) this.hold(stream, 0);
    this.#turns.forget(stream);
    if (!this.#streams.delete(stream.id)) return;
    if (!stream.opener) this.#peerStreams -= 1;
    this.#endIfDrained();
  }

  report(error: unknown): void {
    this.#deps.logger.error({ peer: this.peer, err: error }, 'a stream handler threw');
  }

  // --- FrameSink

  data(id: number, piece: Buffer): void {
    if (this.#over) return;
    this.#heartbeat.carried();
    this.#window.receive(piece.length);
    if (this.#window.due) this.#giveBack();
    this.#find(id)?.receiveData(piece);
  }

  frame(type: FrameType, id: number, payload: Buffer): void {
    // A frame before this one in the same chunk may have ended the link.
    if (this.#over) return;
    switch (type) {
      case FRAME.open:
        return this.#receiveOpen(id, payload);
      case FRAME.head:
        return this.#find(id)?.receiveHead(payload);
      case FRAME.end:
        return this.#find(id)?.receiveEnd(payload);
      case FRAME.reset:
        return this.#receiveReset(id, readCode(payload));
      case FRAME.window:
        if (id === 0) this.credit.give(payload.readUInt32BE());
        else this.#find(id)?.receiveCredit(payload.readUInt32BE());
        return this.#turns.run();
      case FRAME.ping:
        return this.#pings.receive(payload);
      case FRAME.goingAway:
        return this.#receiveGoingAway(payload);
      case FRAME.moved:
        throw frameError('FRAME_INVALID', 'the link moves though no move was agreed', {});
      case FRAME.data:
    }
  }

  #receive(chunk: Uint8Array): void {
    if (this.#over) return;
    this.#heartbeat.heard();
    this.#bytes += chunk.length;
    try {
      this.#decoder.push(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
    } catch (error) {
      this.#deps.logger.warn({ peer: this.peer, code: errorCode(error), err: error }, 'a peer broke the link protocol');
      this.#fail(errorCode(error));
    }
  }

  /** The stream, or undefined for one that is over; frames of those may still be on their way. */
  #find(id: number): Stream | undefined {
    const stream = this.#streams.get(id);
    if (stream === undefined && (this.#isOurs(id) ? id >= this.#nextId : id > this.#lastPeerId)) {
      throw frameError('FRAME_INVALID', 'a frame of a stream that was never opened', { id });
    }
    return stream;
  }

  #isOurs(id: number): boolean {
    return (id & 1) === (this.dialer ? 1 : 0);
  }

  #receiveOpen(id: number, payload: Buffer): void {
    if (this.#isOurs(id) || id <= this.#lastPeerId || this.#peerLeaving) {
      throw frameError('FRAME_INVALID', 'an open out of order', { id });
    }
    this.#lastPeerId = id;
    if (!this.#openRate.allow()) return this.#refuse(id, 'OPEN_RATE');
    if (this.#peerStreams >= this.#limits.streams) return this.#refuse(id, 'STREAM_LIMIT');
    const { request, head, arrival: arrivalBytes } = decodeOpen(payload);
    if (request === undefined) return this.#refuse(id, 'KIND_UNKNOWN');
    let requestHead: RequestHead | undefined;
    let arrival: Arrival | undefined;
    try {
      requestHead = head && decodeRequestHead(head);
      arrival = arrivalBytes && decodeArrival(arrivalBytes);
    } catch {
      return this.#refuse(id, 'HEAD_INVALID');
    }
    const stream = new Stream(this, id, false, request, requestHead, arrival);
    this.#streams.add(stream);
    this.#peerStreams += 1;
    try {
      this.#deps.accept(stream);
      if (!stream.listening) stream.reset('STREAM_UNHANDLED');
    } catch (error) {
      this.report(error);
      stream.reset('INTERNAL');
    }
  }

  #refuse(id: number, code: string): void {
    this.writer.frame(FRAME.reset, id, Buffer.from(code, 'latin1'));
  }

  #receiveReset(id: number, code: string): void {
    const stream = this.#find(id);
    if (stream === undefined) return;
    // A peer that opens and resets in a loop costs work without ever reaching the limit of streams.
    if (!stream.opener && !this.#resetRate.allow()) throw frameError('OPEN_RATE', 'too many resets', { id });
    stream.close(code);
  }

  #receiveGoingAway(payload: Buffer): void {
    const code = payload.length > 1 ? readCode(payload.subarray(1)) : 'LINK_CLOSED';
    if (((payload[0] ?? 0) & ENDS_NOW) !== 0) {
      this.#finish(code);
      return this.#deps.channel.destroy();
    }
    this.#peerLeaving = true;
    this.#leave();
    this.#endIfDrained();
  }

  /** Credit of the link goes back on arrival: what readers hold is bounded by {@link hold}, not by stopping everybody. */
  #giveBack(): void {
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32BE(this.#window.giveBack());
    this.writer.frame(FRAME.window, 0, payload);
  }

  #send(bytes: Buffer, ofStreams: boolean, onTaken: (() => void) | undefined): void {
    this.#bytes += bytes.length;
    if (ofStreams) this.#heartbeat.used();
    this.#marks?.sent();
    if (this.#deps.channel.write(bytes, onTaken)) return;
    this.#writable = false;
    if (this.#deps.channel.bufferedBytes > this.#limits.backlogBytes) this.#fail('LINK_BACKLOG');
  }

  #onDrain(): void {
    this.#writable = true;
    this.#turns.run();
  }

  #leave(): void {
    if (this.#leaving || this.#over) return;
    this.#leaving = true;
    this.#goodbye?.abort();
    this.writer.frame(FRAME.goingAway, 0, Buffer.of(0));
  }

  /** Both sides said they open no more: nothing can be on its way when the last stream is over. */
  #endIfDrained(): void {
    if (this.#leaving && this.#peerLeaving && this.#streams.size === 0) this.#finish('LINK_CLOSED');
  }

  #checkWear(): void {
    const age = this.#deps.clock.now() - this.createdAt;
    const worn = age > this.#limits.renewMs || this.#bytes > this.#limits.renewBytes || this.#nextId > LAST_ID;
    if (worn && this.usable) this.#deps.onWorn?.(this);
  }

  /** Tells the peer why, and ends now. */
  #fail(code: string): void {
    if (this.#over) return;
    this.writer.frame(FRAME.goingAway, 0, Buffer.concat([Buffer.of(ENDS_NOW), Buffer.from(code, 'latin1')]));
    this.#finish(code);
  }

  #finish(code: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#goodbye?.abort();
    this.#closing.abort(new MoatError(code, 'the link is over', { retryable: true, details: { peer: this.peer } }));
    this.#heartbeat.stop();
    this.#marks?.stop();
    this.writer.flush();
    this.writer.stop();
    for (const stream of this.#streams.list()) stream.close(code);
    const { channel, clock } = this.#deps;
    const linger = clock.after(LINGER_MS, () => channel.destroy());
    channel.onData = () => undefined;
    channel.onDrain = () => undefined;
    channel.onEnd = () => undefined;
    channel.onClose = () => {
      linger.cancel();
      this.#gone.resolve();
    };
    channel.end();
    this.#deps.onClosed?.(this);
  }
}
