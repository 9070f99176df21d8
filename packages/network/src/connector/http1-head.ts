/**
 * One head of a service's answer, line by line as its bytes come: the status, the fields that go on, and what the others
 * say about the message. Strict: whatever two parsers could read in two ways is refused instead of repaired.
 *
 * A line is judged only when its end is there, in whatever pieces it came.
 */
import { MoatError, type FieldList } from '@moat/core';
import { FIELD_BYTE, LOWER_TCHAR, parseContentLength, parseTokenList } from './fields.ts';
import { knownName, type FieldRole } from './field-names.ts';

const LF = 0x0a;
const CR = 0x0d;
const SP = 0x20;
const HTAB = 0x09;
const COLON = 0x3a;
/** What a link carries. */
const MAX_NAME_BYTES = 255;
/** `HTTP/1.`, which every status line begins with. */
export const STATUS_PREFIX = 'HTTP/1.';
const PREFIX: Buffer = Buffer.from(STATUS_PREFIX, 'latin1');
/** `HTTP/1.1 200` */
const STATUS_BYTES = 12;
/** Most heads are shorter: read as one string, of which names and values are parts. */
const TEXT_BYTES = 1_024;

type Fields = (readonly [name: string, value: string])[];

/** What the fields of a complete head say. */
export interface Judged {
  /** Those that go on. */
  readonly fields: FieldList;
  /** Length that the head announces. */
  readonly length: number | undefined;
  readonly chunked: boolean;
  /** Connection says `close`. */
  readonly closes: boolean;
  /** How long the service said it keeps an idle connection, in milliseconds. */
  readonly keepAliveMs: number | undefined;
}

/** Returned by readers of lines whose end has not come. */
export const INCOMPLETE = -1;

export class AnswerHead {
  minor = 1;
  status = 0;
  /** All but those about one connection; see {@link AnswerHead.take}. */
  #fields: Fields = [];
  #count = 0;
  readonly #maxFields: number;
  #connection: string | undefined;
  #lengths = 0;
  #lengthText = '';
  #encodings = 0;
  #encoding = '';
  #upgrades = 0;
  #upgrade = '';
  #keepAlive: string | undefined;
  /** What Connection names, in lower case, unless it is only `keep-alive`. */
  #options: readonly string[] = [];
  /** The bytes from `#textFrom` to `#textEnd` of the piece that is being read, as a string once one of them is wanted. */
  #text = '';
  #textFrom = 0;
  #textEnd = 0;

  constructor(maxFields: number) {
    this.#maxFields = maxFields;
  }

  /** To call before lines of another piece are read; `at` is where they begin. */
  usePiece(at: number, end: number): void {
    this.#text = '';
    this.#textFrom = at;
    this.#textEnd = Math.min(end, at + TEXT_BYTES);
  }

  /** The bytes from `at` on, where somebody has them as a string already. */
  useText(text: string, at: number): void {
    this.#text = text;
    this.#textFrom = at;
    this.#textEnd = at + text.length;
  }

  /**
   * Reads the status line. Returns where the next line begins, or {@link INCOMPLETE}.
   * @throws `SERVICE_PROTOCOL`
   */
  readStatusLine(bytes: Buffer, at: number, end: number): number {
    const next = this.#statusLine(bytes, at, end);
    return next === undefined ? unreadable(bytes, at, end, 'the status line is not valid') : next;
  }

  /** Where the next line begins; undefined when it is not valid or has no end yet. */
  #statusLine(bytes: Buffer, from: number, end: number): number | undefined {
    if (end - from < STATUS_BYTES + 2) return undefined;
    for (let i = 0; i < PREFIX.length; i++) {
      if (bytes[from + i] !== PREFIX[i]) return undefined;
    }
    const minor = digit(bytes[from + 7]);
    const [hundreds, tens, ones] = [digit(bytes[from + 9]), digit(bytes[from + 10]), digit(bytes[from + 11])];
    if (minor > 1 || bytes[from + 8] !== SP || hundreds < 1 || hundreds > 5 || tens > 9 || ones > 9) return undefined;
    let at = from + STATUS_BYTES;
    // A reason phrase is a space and then anything that may stand in a value.
    if (bytes[at] === SP) while (at < end && FIELD_BYTE[bytes[at] as number] === 1) at += 1;
    if (at + 1 >= end || bytes[at] !== CR || bytes[at + 1] !== LF) return undefined;
    this.minor = minor;
    this.status = hundreds * 100 + tens * 10 + ones;
    return at + 2;
  }

  /**
   * Reads one field line. Returns where the next line begins, or {@link INCOMPLETE}.
   * @throws `SERVICE_PROTOCOL`
   */
  readField(bytes: Buffer, at: number, end: number): number {
    let nameEnd = at;
    while (nameEnd < end && LOWER_TCHAR[bytes[nameEnd] as number] !== 0) nameEnd += 1;
    // A folded line (obs-fold) begins with a space, which is no token, and so does not pass either.
    if (nameEnd === at || nameEnd >= end || bytes[nameEnd] !== COLON || nameEnd - at > MAX_NAME_BYTES) {
      return unreadable(bytes, at, end, 'a field name is not valid');
    }
    let from = nameEnd + 1;
    while (from < end && isOws(bytes[from])) from += 1;
    let to = from;
    while (to < end && FIELD_BYTE[bytes[to] as number] === 1) to += 1;
    if (to + 1 >= end || bytes[to] !== CR || bytes[to + 1] !== LF) {
      return unreadable(bytes, at, end, 'a field value has a control character');
    }
    const next = to + 2;
    while (to > from && isOws(bytes[to - 1])) to -= 1;
    if (this.#count >= this.#maxFields) throw broken('too many fields');
    this.#count += 1;
    const value = this.#slice(bytes, from, to);
    const known = knownName(bytes, at, nameEnd);
    if (known === undefined) this.#fields.push([this.#slice(bytes, at, nameEnd).toLowerCase(), value]);
    else if (known.role === 'plain') this.#fields.push([known.name, value]);
    else this.#note(known.role, value);
    return next;
  }

  /** The fields read so far, of a trailer section too. The next head begins anew. */
  reset(): void {
    this.#fields = [];
    this.#count = 0;
    this.#connection = undefined;
    this.#lengths = 0;
    this.#encodings = 0;
    this.#upgrades = 0;
    this.#keepAlive = undefined;
    this.#options = [];
  }

  /**
   * Judges what the fields say together; to call when the head is complete.
   * @throws `SERVICE_PROTOCOL`
   */
  finish(): Judged {
    if (this.#connection !== undefined) this.#readConnection(this.#connection);
    const chunked = this.#encodings > 0;
    let length: number | undefined;
    if (this.#lengths > 0) {
      length = parseContentLength(this.#lengthText);
      if (this.#lengths > 1 || length === undefined) throw broken('Content-Length is not one number');
    }
    if (chunked) {
      // RFC 9112 §6.1: exactly one `chunked`, only in HTTP/1.1, never beside Content-Length.
      if (this.#encodings > 1 || this.#encoding.toLowerCase() !== 'chunked')
        throw broken('Transfer-Encoding is not chunked');
      if (length !== undefined) throw broken('both Content-Length and Transfer-Encoding');
      if (this.minor !== 1) throw broken('Transfer-Encoding in HTTP/1.0');
    }
    return {
      fields: this.take({ withoutLength: this.status < 200 || this.status === 204 }),
      length,
      chunked,
      closes: this.#options.includes('close'),
      keepAliveMs: this.#keepAlive === undefined ? undefined : keepAliveMs(this.#keepAlive),
    };
  }

  /** True when the answer agrees to switch to `protocol`, and to no other. */
  agreesTo(protocol: string | undefined): boolean {
    return (
      this.minor === 1 &&
      this.#upgrades === 1 &&
      this.#upgrade.toLowerCase() === protocol &&
      this.#options.includes('upgrade')
    );
  }

  /** The fields that go on: those of this connection, and those that Connection names, do not. */
  take({ withoutLength }: { readonly withoutLength: boolean }): Fields {
    const options = this.#options;
    if (options.length === 0 && !withoutLength) return this.#fields;
    return this.#fields.filter(([name]) => !options.includes(name) && !(withoutLength && name === 'content-length'));
  }

  #note(role: FieldRole, value: string): void {
    switch (role) {
      case 'content-length':
        this.#lengths += 1;
        this.#lengthText = value;
        this.#fields.push(['content-length', value]);
        return;
      case 'transfer-encoding':
        this.#encodings += 1;
        this.#encoding = value;
        return;
      case 'connection':
        this.#connection = this.#connection === undefined ? value : `${this.#connection},${value}`;
        return;
      case 'keep-alive':
        this.#keepAlive = this.#keepAlive === undefined ? value : `${this.#keepAlive},${value}`;
        return;
      case 'upgrade':
        this.#upgrades += 1;
        this.#upgrade = value;
        return;
      case 'plain':
      case 'hop':
    }
  }

  #readConnection(value: string): void {
    if (value === 'keep-alive' || value === 'Keep-Alive') return;
    const options = parseTokenList(value);
    if (!options) throw broken('the Connection field is not valid');
    if (options.includes('content-length') || options.includes('transfer-encoding')) {
      throw broken('Connection names a framing field');
    }
    this.#options = options;
  }

  #slice(bytes: Buffer, from: number, to: number): string {
    if (to > this.#textEnd) return bytes.toString('latin1', from, to);
    if (this.#text === '') this.#text = bytes.toString('latin1', this.#textFrom, this.#textEnd);
    return this.#text.substring(from - this.#textFrom, to - this.#textFrom);
  }
}

/** The line is not valid, if its end is there at all. */
export function unreadable(bytes: Buffer, at: number, end: number, reason: string): typeof INCOMPLETE {
  const feed = bytes.indexOf(LF, at);
  if (feed !== -1 && feed < end) throw broken(reason);
  return INCOMPLETE;
}

/** Above 9 for what is no digit. */
function digit(byte: number | undefined): number {
  return byte === undefined || byte < 0x30 ? 10 : byte - 0x30;
}

/** Optional whitespace is SP and HTAB only (RFC 9110 §5.6.3). */
function isOws(byte: number | undefined): boolean {
  return byte === SP || byte === HTAB;
}

/** The last value read: a service says the same each time. */
let lastKeepAlive = '';
let lastKeepAliveMs: number | undefined;

function keepAliveMs(value: string): number | undefined {
  if (value !== lastKeepAlive) {
    const seconds = /(?:^|[,\s])timeout=([0-9]{1,6})(?:$|[,\s])/i.exec(value)?.[1];
    lastKeepAlive = value;
    lastKeepAliveMs = seconds === undefined ? undefined : Number(seconds) * 1_000;
  }
  return lastKeepAliveMs;
}

export function broken(reason: string): MoatError<'SERVICE_PROTOCOL'> {
  return new MoatError('SERVICE_PROTOCOL', `the service's answer is not valid HTTP/1.1: ${reason}`, {
    details: { reason },
  });
}
