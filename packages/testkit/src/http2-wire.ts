/**
 * HTTP/2 frame by frame (RFC 9113 §4, §6), for tests that send what no client sends. Field blocks are literals without
 * Huffman (RFC 7541 §6.2.2), so that any bytes can stand in them; nothing here checks anything.
 */
import type { Duplex } from 'node:stream';

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;

export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

/** Codes of RFC 9113 §7. */
export const HTTP2_ERROR = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  streamClosed: 5,
  frameSize: 6,
  refused: 7,
  cancel: 8,
  compression: 9,
  enhanceYourCalm: 11,
} as const;

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

export interface Http2Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function http2Frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A field block of literals that enter no table. Texts are latin1. */
export function http2Fields(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), hpackText(name), hpackText(value)]));
}

/** A string of HPACK, not compressed. */
export function hpackText(text: string): Buffer {
  return Buffer.concat([hpackNumber(text.length, 7), Buffer.from(text, 'latin1')]);
}

/** An integer of HPACK with a prefix of `bits` (RFC 7541 §5.1); the bits before it are 0. */
export function hpackNumber(value: number, bits: number): Buffer {
  const max = 2 ** bits - 1;
  if (value < max) return Buffer.from([value]);
  const bytes = [max];
  let rest = value - max;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A request's field block. */
export function http2Request(
  authority: string,
  more: readonly (readonly [string, string])[] = [],
  pseudo: Readonly<Record<string, string>> = {},
): Buffer {
  const head = { ':method': 'GET', ':scheme': 'https', ':path': '/', ':authority': authority, ...pseudo };
  return http2Fields([...Object.entries(head), ...more]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** One connection, already past its handshake. Keeps every frame that comes. */
export class Http2Wire {
  readonly socket: Duplex;
  readonly frames: Http2Frame[] = [];
  /** The other side sends no more, or the connection broke. */
  closed = false;
  #rest: Buffer = Buffer.alloc(0);
  #waiting: (() => void)[] = [];

  constructor(socket: Duplex) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    for (const end of ['end', 'close']) {
      socket.on(end, () => {
        this.closed = true;
        this.#wake();
      });
    }
  }

  /** Preface and SETTINGS, pairs of identifier and value. */
  open(settings: readonly (readonly [number, number])[] = []): this {
    const pairs = settings.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id & 255]), uint32(value)]));
    this.socket.write(Buffer.concat([Buffer.from(PREFACE), http2Frame(FRAME.settings, 0, 0, Buffer.concat(pairs))]));
    return this;
  }

  send(type: number, flags: number, stream: number, payload?: Uint8Array): this {
    this.socket.write(http2Frame(type, flags, stream, payload));
    return this;
  }

  /** Waits for a frame, or for the end. */
  async next(matches: (frame: Http2Frame) => boolean): Promise<Http2Frame | undefined> {
    for (;;) {
      const found = this.frames.find(matches);
      if (found || this.closed) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Waits for the end. */
  async end(): Promise<void> {
    await this.next(() => false);
  }

  /** Code of the GOAWAY that came, if one did. */
  get goaway(): number | undefined {
    return this.frames.find(({ type }) => type === FRAME.goaway)?.payload.readUInt32BE(4);
  }

  /** Code of the RST_STREAM that came for `stream`, if one did. */
  resetOf(stream: number): number | undefined {
    return this.frames.find((frame) => frame.type === FRAME.reset && frame.stream === stream)?.payload.readUInt32BE(0);
  }

  #onData(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= 9) {
      const length = bytes.readUIntBE(0, 3);
      if (bytes.length < 9 + length) break;
      this.frames.push({
        type: bytes[3] as number,
        flags: bytes[4] as number,
        stream: bytes.readUInt32BE(5),
        payload: Buffer.from(bytes.subarray(9, 9 + length)),
      });
      bytes = bytes.subarray(9 + length);
    }
    this.#rest = Buffer.from(bytes);
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
