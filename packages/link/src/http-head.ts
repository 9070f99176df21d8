/**
 * Heads and trailers of `http` streams in binary (RFC 9110 semantics, no HTTP/1.1 syntax); sections see http-section.ts.
 *
 *   request   flags u8 (1 bodyless, 2 upgrade, 4 more) | method u8 | authority u16 | target u16 | [upgrade u16] |
 *             [bytes of more u16] | method authority target [upgrade] | [more: a section] | fields: a section
 *   response  status u16 | fields: a section
 *   trailers  a section, or nothing
 *
 * Text is Latin-1, one byte a character, as on the wire of HTTP, and all of it is checked in both directions. A hot path:
 * test/bench/link-pair.ts guards it.
 */
import type { FieldList, RequestHead, ResponseHead } from '@moat/core';

import { HOST, PROTOCOL, TARGET, TOKEN, isAllOf, writeAllOf } from './http-text.ts';
import type { Alphabet } from './http-text.ts';
import { MAX_HEAD_BYTES } from './frame.ts';
import {
  MAX_FIELDS,
  Sections,
  cutSection,
  invalid,
  scratch,
  tooLarge,
  writeSection,
  writeU16,
  type Section,
} from './http-section.ts';

const MAX_METHOD = 32;
const MAX_AUTHORITY = 262;
const FLAG_BODYLESS = 1;
const FLAG_UPGRADE = 2;
const FLAG_MORE = 4;
const EMPTY = new Uint8Array(0);

const ofRequests = new Sections('request');
const ofResponses = new Sections('response');

/**
 * `prefix` and the bytes of a request head, borrowed until the next call of any encoder here.
 * @throws `HEAD_INVALID`, `HEAD_TOO_LARGE`
 */
export function encodeRequestHead(head: RequestHead, prefix: Uint8Array = EMPTY): Buffer {
  const { method, authority, target, upgrade, fields, bodyless } = head;
  const more = head.more === undefined || head.more.length === 0 ? undefined : head.more;
  if (target.length >= MAX_HEAD_BYTES || (upgrade?.length ?? 0) >= MAX_HEAD_BYTES) throw tooLarge();
  if (more !== undefined && more.length + fields.length > MAX_FIELDS) throw tooLarge();
  if (method.length > MAX_METHOD || authority.length > MAX_AUTHORITY)
    throw invalid('a method or host that is too long');
  const limit = prefix.length + MAX_HEAD_BYTES;
  scratch.set(prefix);
  let at = prefix.length;
  scratch[at++] =
    (bodyless ? FLAG_BODYLESS : 0) | (upgrade === undefined ? 0 : FLAG_UPGRADE) | (more === undefined ? 0 : FLAG_MORE);
  scratch[at++] = method.length;
  at = writeU16(at, authority.length);
  at = writeU16(at, target.length);
  if (upgrade !== undefined) at = writeU16(at, upgrade.length);
  const moreBytesAt = at;
  if (more !== undefined) at += 2;
  at = writeText(at, method, TOKEN);
  at = writeText(at, authority, HOST);
  at = writeText(at, target, TARGET);
  if (upgrade !== undefined) at = writeText(at, upgrade, PROTOCOL);
  checkTarget(target);
  let varying: Section | undefined;
  if (more !== undefined) {
    varying = writeSection(more, at, limit, 'request');
    writeU16(moreBytesAt, varying.byteLength);
    at += varying.byteLength;
  }
  const repeated = ofRequests.write(fields, at, limit);
  checkTogether(repeated, varying, bodyless);
  return scratch.subarray(0, at + repeated.byteLength);
}

/** @throws `HEAD_INVALID` for anything {@link encodeRequestHead} would not write. */
export function decodeRequestHead(bytes: Buffer): RequestHead {
  const flags = bytes[0] ?? 0xff;
  if (flags > (FLAG_BODYLESS | FLAG_UPGRADE | FLAG_MORE)) throw invalid('unknown flags');
  let at = 1;
  const u16 = (): number => {
    at += 2;
    return ((bytes[at - 2] ?? 0) << 8) | (bytes[at - 1] ?? 0);
  };
  const methodBytes = bytes[at++] ?? 0;
  const authorityBytes = u16();
  const targetBytes = u16();
  const upgradeBytes = flags & FLAG_UPGRADE ? u16() : 0;
  const moreBytes = flags & FLAG_MORE ? u16() : 0;
  const textAt = at;
  const sectionAt = at + methodBytes + authorityBytes + targetBytes + upgradeBytes + moreBytes;
  if (sectionAt > bytes.length) throw invalid('cut short');
  const text = bytes.toString('latin1', textAt, sectionAt);
  const take = (length: number, alphabet: Alphabet, most: number): string => {
    const from = at;
    at += length;
    if (length === 0 || length > most || !isAllOf(alphabet, bytes, from, at)) throw wrongText();
    return text.substring(from - textAt, at - textAt);
  };
  const method = take(methodBytes, TOKEN, MAX_METHOD);
  const authority = take(authorityBytes, HOST, MAX_AUTHORITY);
  const target = take(targetBytes, TARGET, MAX_HEAD_BYTES);
  checkTarget(target);
  const upgrade = flags & FLAG_UPGRADE ? take(upgradeBytes, PROTOCOL, MAX_HEAD_BYTES) : undefined;
  const varying = flags & FLAG_MORE ? cutSection(bytes, at, text, textAt, 'request') : undefined;
  const repeated = ofRequests.read(bytes, sectionAt);
  const bodyless = (flags & FLAG_BODYLESS) !== 0;
  checkTogether(repeated, varying, bodyless);
  const head = { method, authority, target, fields: repeated.fields, bodyless };
  if (upgrade === undefined) return varying === undefined ? head : { ...head, more: varying.fields };
  return varying === undefined ? { ...head, upgrade } : { ...head, more: varying.fields, upgrade };
}

/**
 * The bytes of a response head, borrowed until the next call of any encoder here.
 * @throws `HEAD_INVALID`, `HEAD_TOO_LARGE`
 */
export function encodeResponseHead({ status, fields }: ResponseHead): Buffer {
  checkStatus(status);
  const at = writeU16(0, status);
  return scratch.subarray(0, at + ofResponses.write(fields, at, MAX_HEAD_BYTES).byteLength);
}

/** @throws `HEAD_INVALID` */
export function decodeResponseHead(bytes: Buffer): ResponseHead {
  const status = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  checkStatus(status);
  return { status, fields: ofResponses.read(bytes, 2).fields };
}

/**
 * The bytes of trailers, empty for none; borrowed until the next call of any encoder here.
 * @throws `HEAD_INVALID`, `HEAD_TOO_LARGE`
 */
export function encodeTrailers(fields: FieldList): Buffer {
  if (fields.length === 0) return scratch.subarray(0, 0);
  return scratch.subarray(0, writeSection(fields, 0, MAX_HEAD_BYTES, 'trailers').byteLength);
}

/** @throws `HEAD_INVALID` */
export function decodeTrailers(bytes: Buffer): FieldList {
  return bytes.length === 0 ? [] : cutSection(bytes, 0, bytes.toString('latin1'), 0, 'trailers').fields;
}

/** One of a few characters takes less time here than a call into C++. Returns where it ends. */
function writeText(at: number, text: string, alphabet: Alphabet): number {
  if (!writeAllOf(alphabet, text, scratch, at)) throw wrongText();
  return at + text.length;
}

function wrongText(): Error {
  return invalid('method, authority, target or upgrade is empty or holds a forbidden character');
}

function checkTarget(target: string): void {
  if (target.charCodeAt(0) !== 0x2f && target !== '*') throw invalid('the target is a path or *');
}

/** What holds for both lists of a request. A body that is announced and never sent is how requests are smuggled past a connector. */
function checkTogether(fields: Section, more: Section | undefined, bodyless: boolean): void {
  const length = more?.length ?? fields.length;
  if (more?.length !== undefined && fields.length !== undefined) throw invalid('content-length is there twice');
  if (bodyless && length !== undefined && length !== 0) throw invalid('a content-length without a body');
  if (more !== undefined) {
    if (more.fields.length === 0) throw invalid('an empty list of further fields');
    if (more.fields.length + fields.fields.length > MAX_FIELDS) throw invalid('too many fields');
  }
}

function checkStatus(status: number): void {
  if (!Number.isInteger(status) || status < 100 || status > 599) throw invalid('a status is 100 to 599');
}
