/**
 * HTTP/1.1 requests of one connection from their bytes (RFC 9112), one after the other. It keeps no body bytes and never
 * looks ahead: `execute` stops behind each head and behind each request, and whoever feeds it decides when to go on.
 * After a throw nothing that follows on the connection can be read.
 */
import type { FieldList, MoatError } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import { isTrailer } from './fields.ts';
import { beginsRequest, readFields, readHead } from './http1-head.ts';
import { parseHead, type ParsedHead, type ParseRules } from './parse.ts';

export interface ParserEvents {
  /** The head is complete. A `bodyless` request is complete with it: `onEnd` follows at once. */
  onHead(head: ParsedHead): void;
  /** `chunk` is a view of what was given to `execute`. False = take no more now. */
  onBody(chunk: Buffer): boolean;
  /** The request is complete. Only names that may stand in trailers are passed on. */
  onEnd(trailers: FieldList): void;
}

export interface ParserRules extends ParseRules {
  /** Bytes of one head with its line ends; of a trailer section too. */
  readonly maxHeadBytes: number;
}

type State = 'head' | 'length' | 'chunk-line' | 'chunk-data' | 'chunk-end' | 'trailers' | 'done' | 'switched';

const LF = 0x0a;
const CR = 0x0d;
const HEAD_END = Buffer.from('\r\n\r\n', 'latin1');
const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const QUOTED = String.raw`"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"`;
/** A chunk's size and its extensions, which are read and dropped (RFC 9112 §7.1.1, without its optional white space). */
const CHUNK_LINE = new RegExp(`^([0-9A-Fa-f]{1,12})((?:;${TOKEN}(?:=(?:${TOKEN}|${QUOTED}))?)*)\r\n$`);
const MAX_CHUNK_LINE_BYTES = 1_024;
/** Of one body: extensions may not cost more than what they extend. */
const MAX_EXTENSION_BYTES = 16 * 1_024;
const MAX_FIELDS = 128;
/** What decides where messages and connections end. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'connection']);

export class RequestParser {
  readonly #rules: ParserRules;
  readonly #events: ParserEvents;
  #state: State = 'head';
  /** The beginning of a head, chunk line or trailer section whose end has not come. */
  #partial: Buffer | undefined;
  /** Bytes of `#partial` in use. */
  #partialBytes = 0;
  /** Bytes left of a body with a length, or of a chunk. */
  #left = 0;
  #extensionBytes = 0;

  constructor(rules: ParserRules, events: ParserEvents) {
    this.#rules = rules;
    this.#events = events;
  }

  /** No byte of a request has come since the last one. */
  get isBetween(): boolean {
    return this.#state === 'head' && this.#partialBytes === 0;
  }

  /** Behind a whole request, before {@link RequestParser.next}. */
  get isComplete(): boolean {
    return this.#state === 'done';
  }

  /** After a head that asks to switch protocols: what follows is not read here. */
  get isSwitched(): boolean {
    return this.#state === 'switched';
  }

  /** Makes ready for the next request of the connection. */
  next(): void {
    this.#state = 'head';
    this.#extensionBytes = 0;
  }

  /**
   * Takes bytes of `chunk` from `from`; returns where it stopped: behind a head, behind a request, where `onBody` asked
   * for a pause, or at the end.
   * @throws `REQUEST_MALFORMED` and the other codes of a head
   */
  execute(chunk: Buffer, from: number): number {
    let at = from;
    while (at < chunk.length) {
      switch (this.#state) {
        case 'head':
          at = this.#takeHead(chunk, at);
          if (this.#state !== 'head') return at;
          break;
        case 'length':
        case 'chunk-data': {
          const end = Math.min(chunk.length, at + this.#left);
          const goOn = this.#events.onBody(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
          this.#left -= end - at;
          at = end;
          if (this.#left === 0) this.#onCounted();
          if (!goOn) return at;
          break;
        }
        case 'chunk-line':
        case 'chunk-end':
        case 'trailers':
          at = this.#takeLine(chunk, at);
          break;
        case 'done':
        case 'switched':
          return at;
      }
    }
    return at;
  }

  #takeHead(chunk: Buffer, from: number): number {
    const known = this.#partialBytes;
    const first = chunk[from] as number;
    if (known === 0 && first !== CR && !beginsRequest(first)) throw malformed('it does not begin with a method');
    const aside = this.#endAside(chunk, from);
    const found = aside > 0 ? from : chunk.indexOf(HEAD_END, from);
    if (found === -1) {
      this.#keep(chunk, from, chunk.length, this.#rules.maxHeadBytes, () => this.#tooLarge(chunk, from));
      refuseWrongLines(this.#partial as Buffer, this.#partialBytes);
      return chunk.length;
    }
    const end = found + HEAD_END.length - aside;
    if (known + end - from > this.#rules.maxHeadBytes) throw this.#tooLarge(chunk, from);
    // Without the empty line at its end, of which two bytes are the last field's.
    const text = this.#withPartial(chunk, from, end - 2);
    // One empty line before a request line is ignored (RFC 9112 §2.2): old clients send it behind a body.
    const head = text.startsWith('\r\n') ? text.slice(2) : text;
    this.#onHead(readHead(head, this.#rules.maxFields ?? MAX_FIELDS));
    return end;
  }

  /** How many bytes of the head's end were put aside already, when the rest of it begins `chunk`; else 0. */
  #endAside(chunk: Buffer, from: number): number {
    const known = this.#partialBytes;
    for (let aside = Math.min(3, known); aside > 0; aside--) {
      const seam = this.#partial?.toString('latin1', known - aside, known) ?? '';
      if (seam + chunk.toString('latin1', from, from + HEAD_END.length - aside) === '\r\n\r\n') return aside;
    }
    return 0;
  }

  #onHead(raw: ReturnType<typeof readHead>): void {
    const head = parseHead(raw, this.#rules);
    if (head.upgrade !== undefined) this.#state = 'switched';
    else if (head.bodyless) this.#state = 'done';
    else if (head.contentLength === undefined) this.#state = 'chunk-line';
    else {
      this.#left = head.contentLength;
      this.#state = 'length';
    }
    this.#events.onHead(head);
    if (this.#state === 'done') this.#events.onEnd([]);
  }

  /** A chunk's size, the empty line behind its data, a line of trailers. */
  #takeLine(chunk: Buffer, from: number): number {
    const feed = chunk.indexOf(LF, from);
    const end = feed === -1 ? chunk.length : feed + 1;
    if (this.#state === 'trailers') {
      this.#keep(chunk, from, end, this.#rules.maxHeadBytes, headTooLarge);
      if (feed !== -1) this.#onTrailerLine();
      return end;
    }
    const isSize = this.#state === 'chunk-line';
    if (feed === -1 || this.#partialBytes > 0) {
      this.#keep(chunk, from, end, isSize ? MAX_CHUNK_LINE_BYTES : 2, wrongChunk);
      if (feed === -1) return end;
    }
    const line = this.#partialBytes > 0 ? this.#takePartial(this.#partialBytes) : chunk.toString('latin1', from, end);
    if (isSize) this.#onChunkLine(line);
    else if (line !== '\r\n') throw wrongChunk();
    else this.#state = 'chunk-line';
    return end;
  }

  #onChunkLine(line: string): void {
    const match = line.length > MAX_CHUNK_LINE_BYTES ? null : CHUNK_LINE.exec(line);
    if (!match) throw wrongChunk();
    this.#extensionBytes += match[2]?.length ?? 0;
    if (this.#extensionBytes > MAX_EXTENSION_BYTES) throw malformed('chunk extensions are too long');
    this.#left = Number.parseInt(match[1] as string, 16);
    this.#state = this.#left === 0 ? 'trailers' : 'chunk-data';
  }

  /** Trailers are kept until their empty line has come. */
  #onTrailerLine(): void {
    const partial = this.#partial as Buffer;
    const bytes = this.#partialBytes;
    if (bytes < 2 || partial[bytes - 2] !== CR) throw malformed('a line ends without CR');
    const isEmptyLine = bytes === 2 || (partial[bytes - 3] === LF && partial[bytes - 4] === CR);
    if (!isEmptyLine) return;
    const text = this.#takePartial(bytes - 2);
    const trailers = readFields(text, 0, this.#rules.maxFields ?? MAX_FIELDS);
    // A server that takes trailers for fields would find another length there.
    if (trailers.some(([name]) => FRAMING.has(name))) throw malformed('a trailer says where the message ends');
    this.#state = 'done';
    this.#events.onEnd(trailers.filter(([name]) => isTrailer(name)));
  }

  #onCounted(): void {
    if (this.#state === 'chunk-data') {
      this.#state = 'chunk-end';
      return;
    }
    this.#state = 'done';
    this.#events.onEnd([]);
  }

  /** Puts bytes aside; the buffer doubles, so that a head that comes byte by byte costs no more than its length. */
  #keep(chunk: Buffer, from: number, to: number, most: number, tooLong: () => Error): void {
    const bytes = this.#partialBytes + to - from;
    if (bytes > most) throw tooLong();
    if (this.#partial === undefined || this.#partial.length < bytes) {
      const larger = Buffer.allocUnsafeSlow(Math.max(256, bytes * 2));
      this.#partial?.copy(larger, 0, 0, this.#partialBytes);
      this.#partial = larger;
    }
    chunk.copy(this.#partial, this.#partialBytes, from, to);
    this.#partialBytes = bytes;
  }

  /** What was put aside and `chunk` up to `to`, as text. */
  #withPartial(chunk: Buffer, from: number, to: number): string {
    const known = this.#partialBytes;
    if (known === 0) return chunk.toString('latin1', from, to);
    // A head's end may have been put aside already.
    if (to <= from) return this.#takePartial(known - (from - to));
    return this.#takePartial(known) + chunk.toString('latin1', from, to);
  }

  /** Without a line end in all it may have, the request line is to blame. */
  #tooLarge(chunk: Buffer, from: number): MoatError<GatewayErrorCode> {
    const known = this.#partialBytes;
    const feed = this.#partial?.subarray(0, known).indexOf(LF) ?? -1;
    const inChunk = chunk.subarray(from, from + this.#rules.maxHeadBytes - known).indexOf(LF);
    if (feed !== -1 || inChunk !== -1) return headTooLarge();
    return refusal('TARGET_TOO_LARGE', 'the target of the request is too large');
  }

  #takePartial(bytes: number): string {
    this.#partialBytes = 0;
    return (this.#partial as Buffer).toString('latin1', 0, bytes);
  }
}

/** Said at once: a client that ends lines by LF alone would else wait for its deadline. */
function refuseWrongLines(bytes: Buffer, length: number): void {
  for (let at = bytes.indexOf(LF); at !== -1 && at < length; at = bytes.indexOf(LF, at + 1)) {
    if (at === 0 || bytes[at - 1] !== CR) throw malformed('a line ends without CR');
  }
}

function malformed(message: string): MoatError<GatewayErrorCode> {
  return refusal('REQUEST_MALFORMED', message);
}

function wrongChunk(): MoatError<GatewayErrorCode> {
  return malformed('a chunk does not end where its size says, or its size is not valid');
}

function headTooLarge(): MoatError<GatewayErrorCode> {
  return refusal('HEAD_TOO_LARGE', 'the head of the request is too large');
}
