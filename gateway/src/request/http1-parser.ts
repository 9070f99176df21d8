/**
 * HTTP/1.1 requests of one connection from their bytes (RFC 9112), one after the other. It keeps no body bytes and never
 * looks ahead: `execute` stops behind each head and behind each request, and whoever feeds it decides when to go on.
 * After a throw nothing that follows on the connection can be read.
 */
import { isTrailerAllowed, type FieldList, type MoatError } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
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
    if (from < chunk.length && this.#state === 'head') return this.#takeHead(chunk, from);
    let at = from;
    // Whoever is told of an end may call `next`: what follows waits all the same.
    while (at < chunk.length && this.#isInBody) {
      if (this.#state !== 'length' && this.#state !== 'chunk-data') {
        at = this.#takeLine(chunk, at);
        continue;
      }
      const end = Math.min(chunk.length, at + this.#left);
      const goOn = this.#events.onBody(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
      this.#left -= end - at;
      at = end;
      if (this.#left === 0) this.#onCounted();
      if (!goOn) return at;
    }
    return at;
  }

  get #isInBody(): boolean {
    return this.#state !== 'head' && this.#state !== 'done' && this.#state !== 'switched';
  }

  #takeHead(chunk: Buffer, from: number): number {
    const { maxHeadBytes } = this.#rules;
    const known = this.#partialBytes;
    if (known === 0) {
      const first = chunk[from] as number;
      if (first !== CR && !beginsRequest(first)) throw malformed('it does not begin with a method');
      const end = chunk.indexOf(HEAD_END, from) + HEAD_END.length;
      // Nearly always: a head in one piece.
      if (end >= HEAD_END.length && end - from <= maxHeadBytes) {
        this.#onHead(chunk.toString('latin1', from, end - 2));
        return end;
      }
    }
    const to = Math.min(chunk.length, from + maxHeadBytes - known);
    this.#keep(chunk, from, to, maxHeadBytes, headTooLarge);
    const partial = (this.#partial as Buffer).subarray(0, this.#partialBytes);
    const found = partial.indexOf(HEAD_END, Math.max(0, known - HEAD_END.length + 1));
    if (found === -1) {
      refuseWrongLines(partial, known);
      if (partial.length < maxHeadBytes) return to;
      // Without a line end in all it may have, the request line is to blame.
      if (partial.includes(LF)) throw headTooLarge();
      throw refusal('TARGET_TOO_LARGE', 'the target of the request is too large');
    }
    this.#onHead(this.#takePartial(found + 2));
    return from + found + HEAD_END.length - known;
  }

  /** `text` is without the empty line at its end. */
  #onHead(text: string): void {
    // One empty line before a request line is ignored (RFC 9112 §2.2): old clients send it behind a body.
    const raw = readHead(text.startsWith('\r\n') ? text.slice(2) : text, this.#rules.maxFields ?? MAX_FIELDS);
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
    this.#events.onEnd(trailers.filter(([name]) => isTrailerAllowed(name)));
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

  /** The first `bytes` of what was put aside; the buffer goes, since an idle connection needs none. */
  #takePartial(bytes: number): string {
    const partial = this.#partial as Buffer;
    this.#partial = undefined;
    this.#partialBytes = 0;
    return partial.toString('latin1', 0, bytes);
  }
}

/** Said at once: a client that ends lines by LF alone would else wait for its deadline. `from` = where the new begins. */
function refuseWrongLines(bytes: Buffer, from: number): void {
  for (let at = bytes.indexOf(LF, from); at !== -1; at = bytes.indexOf(LF, at + 1)) {
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
