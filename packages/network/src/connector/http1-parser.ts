/**
 * Reads one HTTP/1.1 answer of a service, strictly (RFC 9112). Whatever two parsers could read in two ways
 * is refused instead of repaired: a lenient reading is what request smuggling and response splitting feed on.
 * A small state machine over lines and byte counts; it never looks ahead and never keeps body bytes.
 */
import { MoatError, Recent, isTrailerAllowed, type FieldList, type ResponseHead } from '@moat/core';
import { FIELD_BYTE } from './fields.ts';
import { AnswerHead, INCOMPLETE, STATUS_PREFIX, broken, unreadable, type Judged } from './http1-head.ts';

export interface ResponseEvents {
  /** Several times with 1xx, then once with the final status. 100 is not reported: we never ask for it. */
  onHead(head: ResponseHead): void;
  /** `chunk` is a view of what was given to `execute`. */
  onBody(chunk: Buffer): void;
  /** The answer is complete. Not called after 101. */
  onEnd(trailers: FieldList): void;
}

/** What the answer is to. */
export interface AskedRequest {
  readonly method: string;
  /** Protocol asked for, lower case. */
  readonly upgrade?: string | undefined;
}

export interface ParserLimits {
  /** Bytes of one head, with its line ends. @defaultValue 32768, half of what a link carries */
  readonly maxHeadBytes?: number;
  /** @defaultValue 200 */
  readonly maxFields?: number;
  /** Bytes of all trailers. @defaultValue 8192 */
  readonly maxTrailerBytes?: number;
  /** 1xx heads before the final one. @defaultValue 16 */
  readonly maxInterim?: number;
}

type LineState = 'status' | 'fields' | 'chunk-size' | 'trailers';
type State = LineState | 'length' | 'chunk-data' | 'chunk-cr' | 'chunk-lf' | 'close' | 'done' | 'raw';

const LF = 0x0a;
const CR = 0x0d;
const SEMICOLON = 0x3b;
/** Of a chunk's size, which is at most 2^52. */
const MAX_SIZE_DIGITS = 13;
const MAX_CHUNK_LINE_BYTES = 1_024;
/** Longer ones are not looked up. */
const MAX_KNOWN_BYTES = 4_096;

/** What field sections said lately, by their text: a service says the same each time. Nothing but the text decides it. */
const lately = new Recent<Judged>();

/** One answer, one parser. After a throw the connection is of no more use. */
export class ResponseParser {
  readonly #asked: AskedRequest;
  readonly #events: ResponseEvents;
  readonly #limits: ParserLimits;
  readonly #head: AnswerHead;
  #state: State = 'status';
  /** The beginning of a line whose end has not come, as latin1. */
  #line = '';
  /** The field section that is being read, if it is to be remembered; else empty. */
  #sectionText = '';
  /** Bytes of whole lines since the head, trailers or chunk line began. */
  #lineBytes = 0;
  #interim = 0;
  /** Bytes left of a body with a length, or of a chunk. */
  #left = 0;
  #started = false;
  #persistent = false;
  #keepAliveMs: number | undefined;

  constructor(asked: AskedRequest, events: ResponseEvents, limits: ParserLimits = NO_LIMITS) {
    this.#asked = asked;
    this.#events = events;
    this.#limits = limits;
    this.#head = new AnswerHead(limits.maxFields ?? 200);
  }

  /** True once any byte came. */
  get started(): boolean {
    return this.#started;
  }

  get complete(): boolean {
    return this.#state === 'done';
  }

  /** True after 101: all further bytes belong to the other protocol. */
  get upgraded(): boolean {
    return this.#state === 'raw';
  }

  /** After the end: true when the connection may carry another request. */
  get reusable(): boolean {
    return this.#state === 'done' && this.#persistent;
  }

  /** How long the service said it keeps an idle connection, in milliseconds. */
  get keepAliveMs(): number | undefined {
    return this.#keepAliveMs;
  }

  /**
   * Takes the bytes of `chunk` before `end`; returns how many belong to this answer: fewer only after its end or a 101.
   * @throws `SERVICE_PROTOCOL`
   */
  execute(chunk: Buffer, end: number = chunk.length): number {
    let at = 0;
    if (end > 0) this.#started = true;
    while (at < end) {
      switch (this.#state) {
        case 'status':
        case 'fields':
        case 'chunk-size':
        case 'trailers':
          at = this.#line === '' ? this.#takeLines(chunk, at, end) : this.#continueLine(chunk, at, end);
          break;
        case 'length':
        case 'chunk-data': {
          const upTo = Math.min(end, at + this.#left);
          this.#left -= upTo - at;
          this.#events.onBody(view(chunk, at, upTo));
          at = upTo;
          if (this.#left > 0) break;
          if (this.#state === 'length') this.#onDone(NO_TRAILERS);
          else this.#state = 'chunk-cr';
          break;
        }
        case 'chunk-cr':
          if (chunk[at] !== CR) throw broken('a chunk does not end where its size says');
          this.#state = 'chunk-lf';
          at += 1;
          break;
        case 'chunk-lf':
          if (chunk[at] !== LF) throw broken('a chunk does not end where its size says');
          this.#expect('chunk-size');
          at += 1;
          break;
        case 'close':
          this.#events.onBody(view(chunk, at, end));
          return end;
        case 'done':
        case 'raw':
          return at;
      }
    }
    return at;
  }

  /**
   * The service sends no more.
   * @throws `SERVICE_RESET` when the answer is not complete
   */
  finish(): void {
    if (this.#state === 'done' || this.#state === 'raw') return;
    if (this.#state !== 'close') {
      throw new MoatError('SERVICE_RESET', 'the service ended its answer in the middle', { retryable: true });
    }
    this.#state = 'done';
    this.#events.onEnd(NO_TRAILERS);
  }

  #expect(state: LineState): void {
    this.#state = state;
    this.#lineBytes = 0;
  }

  /** Reads whole lines while lines are expected; keeps the beginning of one whose end has not come. Returns where it stopped. */
  #takeLines(bytes: Buffer, from: number, end: number): number {
    const head = this.#head;
    head.usePiece(from, end);
    let at = from;
    while (at < end) {
      const state = this.#state;
      let next: number;
      if (state === 'chunk-size') next = this.#takeChunkLine(bytes, at, end);
      else if (state === 'status') next = head.readStatusLine(bytes, at, end);
      else if (state !== 'fields' && state !== 'trailers') return at;
      else if (bytes[at] === CR && bytes[at + 1] === LF && at + 1 < end) next = at + 2;
      else next = head.readField(bytes, at, end);
      this.#lineBytes += (next === INCOMPLETE ? end : next) - at;
      if (this.#lineBytes > this.#maxLineBytes()) throw broken('a head, chunk line or trailer is too large');
      if (next === INCOMPLETE) {
        this.#keepLine(bytes, at, end);
        return end;
      }
      const blank = bytes[at] === CR;
      at = next;
      if (state === 'status') {
        this.#state = 'fields';
        at = this.#recall(bytes, at, end);
      } else if (state === 'chunk-size') this.#onChunkLine();
      else if (!blank) continue;
      else if (state === 'fields') this.#onHeadEnd();
      else this.#onDone(head.take({ withoutLength: true }).filter(([name]) => isTrailerAllowed(name)));
    }
    return at;
  }

  /** Takes a field section that is known and all there. Returns where it stopped. */
  #recall(bytes: Buffer, from: number, end: number): number {
    const head = this.#head;
    this.#sectionText = '';
    // Others mean more than their fields say, or are judged by other bounds.
    if (head.status < 200 || head.status === 204 || head.minor !== 1 || this.#limits !== NO_LIMITS) return from;
    const to = blankLineEnd(bytes, from, Math.min(end, from + MAX_KNOWN_BYTES));
    if (to === -1) return from;
    const text = bytes.toString('latin1', from, to);
    const known = lately.get(text);
    if (known !== undefined) {
      this.#onFields(known);
      return to;
    }
    head.useText(text, from);
    this.#sectionText = text;
    return from;
  }

  #keepLine(bytes: Buffer, from: number, end: number): void {
    this.#line += bytes.toString('latin1', from, end);
    // A service that speaks another protocol may never send a line end.
    if (this.#state === 'status' && !isPrefix(this.#line, STATUS_PREFIX)) throw broken('it does not begin with HTTP/1');
  }

  /** Completes the line that an earlier chunk began. Returns where it stopped. */
  #continueLine(chunk: Buffer, at: number, end: number): number {
    const feed = chunk.indexOf(LF, at);
    const whole = feed !== -1 && feed < end;
    const to = whole ? feed + 1 : end;
    if (!whole) {
      this.#lineBytes += to - at;
      if (this.#lineBytes > this.#maxLineBytes()) throw broken('a head, chunk line or trailer is too large');
      this.#keepLine(chunk, at, to);
      return to;
    }
    const line = Buffer.from(this.#line + chunk.toString('latin1', at, to), 'latin1');
    this.#lineBytes -= this.#line.length;
    this.#line = '';
    this.#takeLines(line, 0, line.length);
    return to;
  }

  #maxLineBytes(): number {
    if (this.#state === 'chunk-size') return MAX_CHUNK_LINE_BYTES;
    if (this.#state === 'trailers') return this.#limits.maxTrailerBytes ?? 8 * 1_024;
    return this.#limits.maxHeadBytes ?? 32 * 1_024;
  }

  #onHeadEnd(): void {
    const judged = this.#head.finish();
    if (this.#sectionText !== '') lately.keep(this.#sectionText, judged);
    if (this.#head.status < 200) this.#onInterimHead(judged);
    else this.#onFields(judged);
  }

  #onFields({ fields, length, chunked, closes, keepAliveMs }: Judged): void {
    const { status, minor } = this.#head;
    if (status === 204 && (chunked || (length ?? 0) > 0)) throw broken('a 204 answer announces a body');
    this.#persistent = minor === 1 && !closes;
    this.#keepAliveMs = keepAliveMs;
    this.#events.onHead({ status, fields });
    if (status === 204 || status === 304 || length === 0 || this.#asked.method === 'HEAD') this.#onDone(NO_TRAILERS);
    else if (chunked) this.#expect('chunk-size');
    else if (length === undefined) {
      this.#persistent = false;
      this.#state = 'close';
    } else {
      this.#left = length;
      this.#state = 'length';
    }
  }

  #onInterimHead({ fields, length, chunked, closes }: Judged): void {
    const head = this.#head;
    if (chunked || (length ?? 0) > 0) throw broken('a 1xx answer announces a body');
    // Some would take the connection to be over, and what follows for nobody's.
    if (closes) throw broken('a 1xx answer closes the connection');
    if (head.status === 101) {
      const { upgrade } = this.#asked;
      if (upgrade === undefined || !head.agreesTo(upgrade)) throw broken('101 for an upgrade that was not asked for');
      this.#state = 'raw';
      this.#events.onHead({ status: 101, fields: [...fields, ['upgrade', upgrade]] });
      return;
    }
    this.#interim += 1;
    if (this.#interim > (this.#limits.maxInterim ?? 16)) throw broken('too many 1xx answers');
    if (head.status !== 100) this.#events.onHead({ status: head.status, fields });
    head.reset();
    this.#expect('status');
  }

  /** Returns where the next line begins, or {@link INCOMPLETE}. Extensions are dropped. @throws `SERVICE_PROTOCOL` */
  #takeChunkLine(bytes: Buffer, from: number, end: number): number {
    let at = from;
    let size = 0;
    for (let digit = hexDigit(bytes[at]); at < end && digit < 16; digit = hexDigit(bytes[at])) {
      size = size * 16 + digit;
      at += 1;
    }
    const digits = at - from;
    if (at < end && bytes[at] === SEMICOLON) while (at < end && FIELD_BYTE[bytes[at] as number] === 1) at += 1;
    if (digits === 0 || digits > MAX_SIZE_DIGITS || at + 1 >= end || bytes[at] !== CR || bytes[at + 1] !== LF) {
      return unreadable(bytes, from, end, 'a chunk size is not valid');
    }
    this.#left = size;
    return at + 2;
  }

  #onChunkLine(): void {
    if (this.#left > 0) {
      this.#state = 'chunk-data';
      return;
    }
    this.#head.reset();
    this.#expect('trailers');
  }

  #onDone(trailers: FieldList): void {
    this.#state = 'done';
    this.#events.onEnd(trailers);
  }
}

const NO_LIMITS: ParserLimits = {};
const NO_TRAILERS: FieldList = [];

/** Where the field section that begins at `from` ends, blank line and all; −1 when its end is not before `end`. */
function blankLineEnd(bytes: Buffer, from: number, end: number): number {
  if (from + 1 < end && bytes[from] === CR && bytes[from + 1] === LF) return from + 2;
  let at = from + 3;
  while (at < end) {
    const byte = bytes[at];
    if (byte === LF) {
      if (bytes[at - 1] === CR && bytes[at - 2] === LF && bytes[at - 3] === CR) return at + 1;
      at += 2;
    } else at += byte === CR ? 1 : 4;
  }
  return -1;
}

function view(chunk: Buffer, from: number, to: number): Buffer {
  return from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to);
}

/** 16 for what is no digit. */
function hexDigit(byte: number | undefined): number {
  if (byte === undefined || byte < 0x30) return 16;
  if (byte <= 0x39) return byte - 0x30;
  const letter = (byte | 0x20) - 0x61;
  return letter >= 0 && letter < 6 ? letter + 10 : 16;
}

/** True when one of the two begins with the other. */
function isPrefix(text: string, wanted: string): boolean {
  return text.length < wanted.length ? wanted.startsWith(text) : text.startsWith(wanted);
}
