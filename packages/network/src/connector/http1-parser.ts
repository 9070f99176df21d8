/**
 * Reads one HTTP/1.1 answer of a service, strictly (RFC 9112). Whatever two parsers could read in two ways
 * is refused instead of repaired: a lenient reading is what request smuggling and response splitting feed on.
 * A small state machine over lines and byte counts; it never looks ahead and never keeps body bytes.
 */
import { MoatError, type FieldList, type ResponseHead } from '@moat/core';
import {
  isConnectionSpecific,
  isFieldValue,
  isToken,
  isTrailerAllowed,
  parseContentLength,
  parseTokenList,
} from './fields.ts';

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

type State =
  | 'status'
  | 'fields'
  | 'length'
  | 'chunk-size'
  | 'chunk-data'
  | 'chunk-cr'
  | 'chunk-lf'
  | 'trailers'
  | 'close'
  | 'done'
  | 'raw';

/** A chunk's size, at most 2^52, and its extensions, which are dropped. */
const CHUNK_LINE = /^([0-9a-fA-F]{1,13})(?:;[\t\x20-\x7e\x80-\xff]*)?$/;
/** What a link carries. */
const MAX_NAME_BYTES = 255;
const MAX_CHUNK_LINE_BYTES = 1_024;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const STATUS_PREFIX = 'HTTP/1.';

/** One answer, one parser. After a throw the connection is of no more use. */
export class ResponseParser {
  readonly #asked: AskedRequest;
  readonly #events: ResponseEvents;
  readonly #maxHeadBytes: number;
  readonly #maxFields: number;
  readonly #maxTrailerBytes: number;
  readonly #maxInterim: number;
  #state: State = 'status';
  /** The line read so far, as latin1. */
  #line = '';
  /** Bytes of lines since the head, trailers or chunk line began. */
  #lineBytes = 0;
  #minor = 1;
  #status = 0;
  #fields: [string, string][] = [];
  #interim = 0;
  /** Bytes left of a body with a length, or of a chunk. */
  #left = 0;
  #started = false;
  #persistent = false;
  #keepAliveMs: number | undefined;

  constructor(asked: AskedRequest, events: ResponseEvents, limits: ParserLimits = {}) {
    this.#asked = asked;
    this.#events = events;
    this.#maxHeadBytes = limits.maxHeadBytes ?? 32 * 1024;
    this.#maxFields = limits.maxFields ?? 200;
    this.#maxTrailerBytes = limits.maxTrailerBytes ?? 8 * 1024;
    this.#maxInterim = limits.maxInterim ?? 16;
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
   * Takes bytes; returns how many belong to this answer: fewer only after its end or a 101.
   * @throws `SERVICE_PROTOCOL`
   */
  execute(chunk: Buffer): number {
    let at = 0;
    if (chunk.length > 0) this.#started = true;
    while (at < chunk.length) {
      switch (this.#state) {
        case 'status':
        case 'fields':
        case 'chunk-size':
        case 'trailers':
          at = this.#takeLine(chunk, at);
          break;
        case 'length':
        case 'chunk-data': {
          const end = Math.min(chunk.length, at + this.#left);
          this.#left -= end - at;
          this.#events.onBody(chunk.subarray(at, end));
          at = end;
          if (this.#left === 0) this.#onCounted();
          break;
        }
        case 'chunk-cr':
          if (chunk[at] !== 0x0d) throw broken('a chunk does not end where its size says');
          this.#state = 'chunk-lf';
          at += 1;
          break;
        case 'chunk-lf':
          if (chunk[at] !== 0x0a) throw broken('a chunk does not end where its size says');
          this.#expectLine('chunk-size');
          at += 1;
          break;
        case 'close':
          this.#events.onBody(at === 0 ? chunk : chunk.subarray(at));
          return chunk.length;
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
    this.#events.onEnd([]);
  }

  #expectLine(state: 'status' | 'fields' | 'chunk-size' | 'trailers'): void {
    this.#state = state;
    this.#line = '';
    this.#lineBytes = 0;
  }

  #takeLine(chunk: Buffer, at: number): number {
    const feed = chunk.indexOf(0x0a, at);
    const end = feed === -1 ? chunk.length : feed + 1;
    this.#lineBytes += end - at;
    if (this.#lineBytes > this.#maxLineBytes()) throw broken('a head, chunk line or trailer is too large');
    const begins = this.#state === 'status' && this.#line.length < STATUS_PREFIX.length;
    this.#line += chunk.toString('latin1', at, end);
    // A service that speaks another protocol may never send a line end.
    if (begins && !isPrefix(this.#line, STATUS_PREFIX)) throw broken('it does not begin with HTTP/1');
    if (feed === -1) return end;
    if (!this.#line.endsWith('\r\n')) throw broken('a line ends without CR');
    const line = this.#line.slice(0, -2);
    this.#line = '';
    if (this.#state === 'status') this.#onStatusLine(line);
    else if (this.#state === 'chunk-size') this.#onChunkLine(line);
    else if (line !== '') this.#onFieldLine(line);
    else if (this.#state === 'fields') this.#onHeadEnd();
    else this.#onTrailersEnd();
    return end;
  }

  #maxLineBytes(): number {
    if (this.#state === 'chunk-size') return MAX_CHUNK_LINE_BYTES;
    return this.#state === 'trailers' ? this.#maxTrailerBytes : this.#maxHeadBytes;
  }

  #onStatusLine(line: string): void {
    const match = STATUS_LINE.exec(line);
    if (!match) throw broken('the status line is not valid');
    this.#minor = Number(match[1]);
    this.#status = Number(match[2]);
    this.#fields = [];
    this.#state = 'fields';
  }

  #onFieldLine(line: string): void {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    // A folded line (obs-fold) begins with a space, which is no token, and so does not pass either.
    if (colon < 1 || colon > MAX_NAME_BYTES || !isToken(name)) throw broken('a field name is not valid');
    const value = trimOws(line.slice(colon + 1));
    if (!isFieldValue(value)) throw broken('a field value has a control character');
    if (this.#fields.length >= this.#maxFields) throw broken('too many fields');
    this.#fields.push([name, value]);
  }

  #onHeadEnd(): void {
    const status = this.#status;
    const connection = this.#connectionOptions();
    const length = this.#contentLength();
    const chunked = this.#isChunked(length);
    if (status < 200) return this.#onInterimHead(length, chunked, connection);
    const bodyless = status === 204 || status === 304 || this.#asked.method === 'HEAD';
    if (status === 204 && (chunked || (length ?? 0) > 0)) throw broken('a 204 answer announces a body');
    this.#persistent = this.#minor === 1 && !connection.has('close');
    this.#keepAliveMs = this.#keepAlive();
    this.#events.onHead({ status, fields: this.#forwarded(connection, status === 204) });
    if (bodyless || length === 0) return this.#onDone([]);
    if (chunked) return this.#expectLine('chunk-size');
    if (length === undefined) {
      this.#persistent = false;
      this.#state = 'close';
    } else {
      this.#left = length;
      this.#state = 'length';
    }
  }

  #onInterimHead(length: number | undefined, chunked: boolean, connection: ReadonlySet<string>): void {
    if (chunked || (length ?? 0) > 0) throw broken('a 1xx answer announces a body');
    if (this.#status === 101) {
      const protocol = this.#fields.filter(([name]) => name === 'upgrade').map(([, value]) => value.toLowerCase());
      const agreed = protocol.length === 1 && protocol[0] === this.#asked.upgrade && connection.has('upgrade');
      if (!agreed || this.#minor !== 1) throw broken('101 for an upgrade that was not asked for');
      this.#state = 'raw';
      const upgrade = this.#asked.upgrade as string;
      const fields = this.#forwarded(connection, true);
      this.#events.onHead({ status: 101, fields: [...fields, ['upgrade', upgrade]] });
      return;
    }
    this.#interim += 1;
    if (this.#interim > this.#maxInterim) throw broken('too many 1xx answers');
    if (this.#status !== 100) this.#events.onHead({ status: this.#status, fields: this.#forwarded(connection, true) });
    this.#expectLine('status');
  }

  #onChunkLine(line: string): void {
    const match = CHUNK_LINE.exec(line);
    if (!match) throw broken('a chunk size is not valid');
    this.#left = Number.parseInt(match[1] as string, 16);
    this.#fields = [];
    if (this.#left === 0) this.#expectLine('trailers');
    else this.#state = 'chunk-data';
  }

  #onCounted(): void {
    if (this.#state === 'length') this.#onDone([]);
    else this.#state = 'chunk-cr';
  }

  #onTrailersEnd(): void {
    this.#onDone(this.#fields.filter(([name]) => isTrailerAllowed(name)));
  }

  #onDone(trailers: FieldList): void {
    this.#state = 'done';
    this.#events.onEnd(trailers);
  }

  #values(wanted: string): string[] {
    return this.#fields.filter(([name]) => name === wanted).map(([, value]) => value);
  }

  #connectionOptions(): ReadonlySet<string> {
    const tokens = parseTokenList(this.#values('connection').join(','));
    if (!tokens) throw broken('the Connection field is not valid');
    if (tokens.includes('content-length') || tokens.includes('transfer-encoding')) {
      throw broken('Connection names a framing field');
    }
    return new Set(tokens);
  }

  #contentLength(): number | undefined {
    const values = this.#values('content-length');
    if (values.length === 0) return undefined;
    const length = parseContentLength(values[0] as string);
    if (values.length > 1 || length === undefined) throw broken('Content-Length is not one number');
    return length;
  }

  /** RFC 9112 §6.1: exactly one `chunked`, only in HTTP/1.1, never beside Content-Length. */
  #isChunked(length: number | undefined): boolean {
    const values = this.#values('transfer-encoding');
    if (values.length === 0) return false;
    if (values.length > 1 || values[0]?.toLowerCase() !== 'chunked') throw broken('Transfer-Encoding is not chunked');
    if (length !== undefined) throw broken('both Content-Length and Transfer-Encoding');
    if (this.#minor !== 1) throw broken('Transfer-Encoding in HTTP/1.0');
    return true;
  }

  #keepAlive(): number | undefined {
    const seconds = /(?:^|[,\s])timeout=([0-9]{1,6})(?:$|[,\s])/i.exec(this.#values('keep-alive').join(','))?.[1];
    return seconds === undefined ? undefined : Number(seconds) * 1_000;
  }

  #forwarded(connection: ReadonlySet<string>, withoutLength: boolean): FieldList {
    return this.#fields.filter(
      ([name]) => !isConnectionSpecific(name) && !connection.has(name) && !(withoutLength && name === 'content-length'),
    );
  }
}

/** True when one of the two begins with the other. */
function isPrefix(text: string, wanted: string): boolean {
  return text.length < wanted.length ? wanted.startsWith(text) : text.startsWith(wanted);
}

/** Optional whitespace is SP and HTAB only (RFC 9110 §5.6.3); `trim` would take more. */
function trimOws(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isOws(text.charCodeAt(start))) start += 1;
  while (end > start && isOws(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function broken(reason: string): MoatError<'SERVICE_PROTOCOL'> {
  return new MoatError('SERVICE_PROTOCOL', `the service's answer is not valid HTTP/1.1: ${reason}`, {
    details: { reason },
  });
}
