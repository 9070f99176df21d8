/**
 * The frames of a link and their decoder. A frame is 8 bytes of header and a payload:
 *
 *   type u8 | payload bytes u24 | stream id u32 | payload
 *
 * The highest bit of the type of `open`, `head` and `data` says that an empty `end` follows: so a request without a body is
 * one frame, and a small answer two.
 *
 * This file and frame-writer.ts are a hot path and low-level on purpose: with one framed link over TLS the whole
 * path client → gateway → service costs 46 µs of CPU a request, with one libp2p stream a request 330 µs. Payload of
 * `data` frames is passed on in the pieces it arrives in, never assembled. test/bench/link.ts guards it.
 */
import { MoatError } from '@moat/core';

import type { LinkErrorCode } from './errors.ts';

/** Frame types. Stream id 0 is the link itself. */
export const FRAME = {
  /** Opener: deployment, service, kind and, on `http`, the request head (open.ts). */
  open: 1,
  /** Acceptor: its answer; empty on `tcp`, a response head on `http`. */
  head: 2,
  /** Bytes of the stream; costs credit of the stream and of the link. */
  data: 3,
  /** This direction is complete; payload: trailers, empty when there are none. */
  end: 4,
  /** Both directions are over; payload: an error code. */
  reset: 5,
  /** Credit given back: u32 bytes; for the link when the id is 0. */
  window: 6,
  /** 0 = question or 1 = answer, then 8 bytes that the answer repeats. */
  ping: 7,
  /** Which link a channel carries, and how much of it arrived: the first frame, never a later one (greeting.ts). */
  moved: 8,
  /** flags u8 (1 = the link ends now), then an error code or nothing. */
  goingAway: 9,
} as const;

/** A type byte of {@link FRAME}. */
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

/** Bit of a type byte: this direction is complete with this frame, as after an empty `end`. */
export const ENDS = 0x80;
/** Bytes before each payload. */
export const HEADER_BYTES = 8;
/** Most bytes one `data` frame carries. */
export const MAX_DATA_BYTES: number = 64 * 1024;
/** Most bytes of an encoded head or of trailers. */
export const MAX_HEAD_BYTES: number = 64 * 1024;
/** Bytes of an `open` before the request head: kind, deployment, service. */
export const MAX_OPEN_PREFIX_BYTES = 128;

/** Bytes of a `moved` frame. */
export const MOVED_BYTES = 25;

/** The form of every code in `reset` and `going-away`. */
const CODE = /^[A-Z][A-Z0-9_]{0,47}$/;

interface Shape {
  readonly least: number;
  readonly most: number;
  /** Whether the id names a stream, the link, or either. */
  readonly of: 'stream' | 'link' | 'both';
}

/** Indexed by type byte; what is not listed is refused. */
const SHAPES: readonly (Shape | undefined)[] = [
  undefined,
  { least: 4, most: MAX_OPEN_PREFIX_BYTES + MAX_HEAD_BYTES, of: 'stream' },
  { least: 0, most: MAX_HEAD_BYTES, of: 'stream' },
  { least: 1, most: MAX_DATA_BYTES, of: 'stream' },
  { least: 0, most: MAX_HEAD_BYTES, of: 'stream' },
  { least: 1, most: 48, of: 'stream' },
  { least: 4, most: 4, of: 'both' },
  { least: 9, most: 9, of: 'link' },
  { least: MOVED_BYTES, most: MOVED_BYTES, of: 'link' },
  { least: 1, most: 49, of: 'link' },
];

/** Who gets the frames. Payloads are borrowed until the call returns. */
export interface FrameSink {
  /** A whole frame of any type but `data`. */
  frame(type: FrameType, id: number, payload: Buffer): void;
  /** A piece of a `data` frame, at least one byte. */
  data(id: number, piece: Buffer): void;
}

/** Turns bytes in any split into frames. Bound: one control frame, at most 64 KiB and a prefix, is assembled at a time. */
export class FrameDecoder {
  readonly #sink: FrameSink;
  readonly #header: Buffer = Buffer.alloc(HEADER_BYTES);
  /** Bytes in #header; a header that arrives whole is read in place. */
  #headerBytes = 0;
  #type: FrameType = FRAME.data;
  #id = 0;
  /** The frame says that it ends its direction. */
  #ends = false;
  /** Payload bytes of the current frame still to come. */
  #left = 0;
  /** Payload of a control frame that arrives in pieces. */
  #payload: Buffer | undefined;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** True between two frames: the only place where a stream of frames may end. */
  get idle(): boolean {
    return this.#headerBytes === 0 && this.#left === 0;
  }

  /**
   * Decodes what arrived.
   * @throws `FRAME_UNKNOWN`, `FRAME_INVALID`, and what the sink throws; no further push is allowed then.
   */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        at += this.#takePayload(chunk, at);
        continue;
      }
      const rest = chunk.length - at;
      if (this.#headerBytes === 0 && rest >= HEADER_BYTES) {
        this.#readHeader(chunk, at);
        at += HEADER_BYTES;
      } else {
        const taken = Math.min(HEADER_BYTES - this.#headerBytes, rest);
        chunk.copy(this.#header, this.#headerBytes, at, at + taken);
        this.#headerBytes += taken;
        at += taken;
        if (this.#headerBytes < HEADER_BYTES) return;
        this.#headerBytes = 0;
        this.#readHeader(this.#header, 0);
      }
      if (this.#left > 0) continue;
      this.#sink.frame(this.#type, this.#id, EMPTY);
      this.#end();
    }
  }

  #readHeader(bytes: Buffer, at: number): void {
    const first = bytes[at] as number;
    const type = first & ~ENDS;
    const length = ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
    const id = bytes.readUInt32BE(at + 4);
    const shape = SHAPES[type];
    if (shape === undefined || (first !== type && type > FRAME.data))
      throw frameError('FRAME_UNKNOWN', 'a frame of an unlisted type', { type: first });
    if (length < shape.least || length > shape.most) {
      throw frameError('FRAME_INVALID', 'the payload has a wrong size', { type, length });
    }
    if ((shape.of === 'stream' && id === 0) || (shape.of === 'link' && id !== 0)) {
      throw frameError('FRAME_INVALID', 'the frame has a wrong stream id', { type, id });
    }
    this.#type = type as FrameType;
    this.#ends = first !== type;
    this.#id = id;
    this.#left = length;
  }

  /** Returns the bytes used. */
  #takePayload(chunk: Buffer, at: number): number {
    const taken = Math.min(this.#left, chunk.length - at);
    if (this.#type === FRAME.data) {
      this.#left -= taken;
      this.#sink.data(this.#id, chunk.subarray(at, at + taken));
      if (this.#left === 0) this.#end();
      return taken;
    }
    if (this.#payload === undefined && taken === this.#left) {
      this.#left = 0;
      this.#sink.frame(this.#type, this.#id, chunk.subarray(at, at + taken));
      this.#end();
      return taken;
    }
    const payload = (this.#payload ??= Buffer.allocUnsafeSlow(this.#left));
    chunk.copy(payload, payload.length - this.#left, at, at + taken);
    this.#left -= taken;
    if (this.#left === 0) {
      this.#payload = undefined;
      this.#sink.frame(this.#type, this.#id, payload);
      this.#end();
    }
    return taken;
  }

  #end(): void {
    if (!this.#ends) return;
    this.#ends = false;
    this.#sink.frame(FRAME.end, this.#id, EMPTY);
  }
}

const EMPTY = Buffer.alloc(0);

/** @throws `FRAME_INVALID` unless the payload is the text of an error code. */
export function readCode(payload: Buffer): string {
  const code = payload.toString('latin1');
  if (!isCode(code)) throw frameError('FRAME_INVALID', 'not an error code', {});
  return code;
}

/** True for the text of an error code, at most 48 characters. */
export function isCode(code: string): boolean {
  return CODE.test(code);
}

/** An error of the link protocol. */
export function frameError(
  code: LinkErrorCode,
  message: string,
  details: Readonly<Record<string, number>>,
): MoatError<LinkErrorCode> {
  return new MoatError(code, message, { details });
}
