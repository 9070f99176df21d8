/**
 * Heads and fields of `http` streams in binary (RFC 9110 semantics, no HTTP/1.1 syntax):
 *
 *   request   flags u8 (1 bodyless, 2 upgrade) | method u8+n | authority u16+n | target u16+n | [upgrade u16+n] | fields
 *   response  status u16 | fields
 *   fields    count u16 | count × ( name u16+n | value u16+n )
 *
 * Text is Latin-1, one byte a character, as on the wire of HTTP. Every byte is checked in both directions, so nothing
 * that could end a line or a field ever reaches a connector. A hot path: one string is made for a whole head and cut.
 */
import { MoatError } from '@moat/core';
import type { FieldList, RequestHead, ResponseHead } from '@moat/core';

import { FIELD_VALUE, HOST, LOWER_TOKEN, PROTOCOL, TARGET, TOKEN, isForbidden, type Alphabet } from './http-text.ts';
import { MAX_HEAD_BYTES } from './frame.ts';

const MAX_FIELDS = 1024;
const MAX_METHOD = 32;
const MAX_AUTHORITY = 262;
const FLAG_BODYLESS = 1;
const FLAG_UPGRADE = 2;
/** One for the process: heads are encoded and copied within one turn. */
const scratch = Buffer.allocUnsafeSlow(MAX_HEAD_BYTES);

/**
 * The bytes of a request head, borrowed until the next call of any encoder here.
 * @throws `HEAD_INVALID`, `HEAD_TOO_LARGE`
 */
export function encodeRequestHead(head: RequestHead): Buffer {
  const writer = new HeadWriter();
  checkRequest(head.target, head.fields, head.bodyless);
  writer.u8((head.bodyless ? FLAG_BODYLESS : 0) | (head.upgrade === undefined ? 0 : FLAG_UPGRADE));
  writer.text8(head.method, TOKEN, 1, MAX_METHOD, 'method');
  writer.text16(head.authority, HOST, 1, MAX_AUTHORITY, 'authority');
  writer.text16(head.target, TARGET, 1, MAX_HEAD_BYTES, 'target');
  if (head.upgrade !== undefined) writer.text16(head.upgrade, PROTOCOL, 1, MAX_HEAD_BYTES, 'upgrade');
  writer.fields(head.fields);
  return writer.bytes();
}

/** @throws `HEAD_INVALID` for anything {@link encodeRequestHead} would not write. */
export function decodeRequestHead(bytes: Buffer): RequestHead {
  const reader = new HeadReader(bytes);
  const flags = reader.u8();
  if (flags > (FLAG_BODYLESS | FLAG_UPGRADE)) throw invalid('unknown flags');
  const method = reader.text8(TOKEN, 1, MAX_METHOD, 'method');
  const authority = reader.text16(HOST, 1, MAX_AUTHORITY, 'authority');
  const target = reader.text16(TARGET, 1, MAX_HEAD_BYTES, 'target');
  const upgrade = flags & FLAG_UPGRADE ? reader.text16(PROTOCOL, 1, MAX_HEAD_BYTES, 'upgrade') : undefined;
  const fields = reader.fields();
  const bodyless = (flags & FLAG_BODYLESS) !== 0;
  reader.finish();
  checkRequest(target, fields, bodyless);
  if (upgrade === undefined) return { method, authority, target, fields, bodyless };
  return { method, authority, target, fields, bodyless, upgrade };
}

/**
 * The bytes of a response head, borrowed until the next call of any encoder here.
 * @throws `HEAD_INVALID`, `HEAD_TOO_LARGE`
 */
export function encodeResponseHead(head: ResponseHead): Buffer {
  checkResponse(head.status, head.fields);
  const writer = new HeadWriter();
  writer.u16(head.status);
  writer.fields(head.fields);
  return writer.bytes();
}

/** @throws `HEAD_INVALID` */
export function decodeResponseHead(bytes: Buffer): ResponseHead {
  const reader = new HeadReader(bytes);
  const status = reader.u16();
  const fields = reader.fields();
  reader.finish();
  checkResponse(status, fields);
  return { status, fields };
}

/**
 * The bytes of trailers, empty for none; borrowed until the next call of any encoder here.
 * @throws `HEAD_INVALID`, `HEAD_TOO_LARGE`
 */
export function encodeTrailers(fields: FieldList): Buffer {
  const writer = new HeadWriter();
  if (fields.length > 0) {
    checkTrailers(fields);
    writer.fields(fields);
  }
  return writer.bytes();
}

/** @throws `HEAD_INVALID` */
export function decodeTrailers(bytes: Buffer): FieldList {
  if (bytes.length === 0) return [];
  const reader = new HeadReader(bytes);
  const fields = reader.fields();
  reader.finish();
  checkTrailers(fields);
  return fields;
}

function checkRequest(target: string, fields: FieldList, bodyless: boolean): void {
  if (target.charCodeAt(0) !== 0x2f && target !== '*') throw invalid('the target is a path or *');
  const length = checkFields(fields, true);
  // A body that is announced and never sent is how requests are smuggled past a connector.
  if (bodyless && length !== undefined && length !== 0) throw invalid('a content-length without a body');
}

function checkResponse(status: number, fields: FieldList): void {
  if (!Number.isInteger(status) || status < 100 || status > 599) throw invalid('a status is 100 to 599');
  checkFields(fields, false);
}

function checkTrailers(fields: FieldList): void {
  for (const [name] of fields) {
    if (isForbidden(name, true) || name === 'content-length') throw invalid(`${name} is no trailer`);
  }
}

/** Returns the content-length, if there is one. */
function checkFields(fields: FieldList, request: boolean): number | undefined {
  let length: number | undefined;
  for (const [name, value] of fields) {
    if (isForbidden(name, request)) throw invalid(`${name} belongs to a connection, not to a head`);
    if (name !== 'content-length') continue;
    if (length !== undefined || !/^[0-9]{1,15}$/.test(value)) throw invalid('content-length is one number');
    length = Number(value);
  }
  return length;
}

class HeadWriter {
  #at = 0;

  bytes(): Buffer {
    return scratch.subarray(0, this.#at);
  }

  u8(value: number): void {
    this.#reserve(1);
    scratch[this.#at++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    scratch[this.#at++] = value >>> 8;
    scratch[this.#at++] = value;
  }

  text8(text: string, alphabet: Alphabet, least: number, most: number, what: string): void {
    if (text.length < least || text.length > most) throw invalid(`${what} has a wrong length`);
    this.u8(text.length);
    this.#text(text, alphabet, what);
  }

  text16(text: string, alphabet: Alphabet, least: number, most: number, what: string): void {
    if (text.length >= MAX_HEAD_BYTES) throw tooLarge();
    if (text.length < least || text.length > most) throw invalid(`${what} has a wrong length`);
    this.u16(text.length);
    this.#text(text, alphabet, what);
  }

  fields(fields: FieldList): void {
    if (fields.length > MAX_FIELDS) throw tooLarge();
    this.u16(fields.length);
    for (const [name, value] of fields) {
      this.text16(name, LOWER_TOKEN, 1, MAX_HEAD_BYTES, 'field name');
      this.text16(value, FIELD_VALUE, 0, MAX_HEAD_BYTES, 'field value');
    }
  }

  #text(text: string, alphabet: Alphabet, what: string): void {
    this.#reserve(text.length);
    let at = this.#at;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (alphabet[code] !== 1) throw invalid(`${what} holds a forbidden character`);
      scratch[at++] = code;
    }
    this.#at = at;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes > MAX_HEAD_BYTES) throw tooLarge();
  }
}

class HeadReader {
  readonly #bytes: Buffer;
  readonly #text: string;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#text = bytes.toString('latin1');
  }

  u8(): number {
    const value = this.#bytes[this.#at++];
    if (value === undefined) throw invalid('cut short');
    return value;
  }

  u16(): number {
    return (this.u8() << 8) | this.u8();
  }

  text8(alphabet: Alphabet, least: number, most: number, what: string): string {
    return this.#take(this.u8(), alphabet, least, most, what);
  }

  text16(alphabet: Alphabet, least: number, most: number, what: string): string {
    return this.#take(this.u16(), alphabet, least, most, what);
  }

  fields(): FieldList {
    const count = this.u16();
    // Each field takes 4 bytes at least, which bounds what a lie about the count can cost.
    if (count > MAX_FIELDS || count * 4 > this.#bytes.length - this.#at) throw invalid('too many fields');
    const fields: (readonly [string, string])[] = [];
    for (let i = 0; i < count; i++) {
      const name = this.text16(LOWER_TOKEN, 1, MAX_HEAD_BYTES, 'field name');
      fields.push([name, this.text16(FIELD_VALUE, 0, MAX_HEAD_BYTES, 'field value')]);
    }
    return fields;
  }

  finish(): void {
    if (this.#at !== this.#bytes.length) throw invalid('bytes after its end');
  }

  #take(length: number, alphabet: Alphabet, least: number, most: number, what: string): string {
    const from = this.#at;
    const to = from + length;
    if (length < least || length > most) throw invalid(`${what} has a wrong length`);
    if (to > this.#bytes.length) throw invalid('cut short');
    for (let i = from; i < to; i++) {
      if (alphabet[this.#bytes[i] ?? 0] !== 1) throw invalid(`${what} holds a forbidden character`);
    }
    this.#at = to;
    return this.#text.substring(from, to);
  }
}

function invalid(reason: string): MoatError<'HEAD_INVALID'> {
  return new MoatError('HEAD_INVALID', `the head breaks a rule: ${reason}`);
}

function tooLarge(): MoatError<'HEAD_TOO_LARGE'> {
  return new MoatError('HEAD_TOO_LARGE', `a head has at most ${MAX_HEAD_BYTES} bytes and ${MAX_FIELDS} fields`);
}
