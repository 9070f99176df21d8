/**
 * A request's head from its bytes to method, target, version and fields (RFC 9112 §§2.2, 3, 5). One walk over the text
 * with a table look-up a character: regular expressions and a split into lines cost three times as much (test/bench).
 * Whatever two servers could read in two ways is refused, not repaired. Fields that were read lately are not read again.
 */
import { Recent, type FieldList, type MoatError } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';

/** A request's head as received; every character is one that may stand where it stands. */
export interface RawHead {
  readonly method: string;
  readonly target: string;
  readonly version: '1.0' | '1.1';
  /** In order; names in lower case, values without white space around them. */
  readonly fields: FieldList;
}

const CR = 0x0d;
const SP = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

const NAME = 1;
const UPPER = 2;
const VALUE = 4;
const TARGET = 8;
const CLASSES: Readonly<Uint8Array> = classes();

/**
 * Reads a whole head, from the method to the line end of the last field, as latin1.
 * @throws `REQUEST_MALFORMED`, `HTTP_VERSION_UNSUPPORTED`, `HEAD_TOO_LARGE` (more than `maxFields`)
 */
export function readHead(text: string, maxFields: number): RawHead {
  // A text of our own costs no hash where it is looked up.
  const isGet = text.startsWith('GET ');
  const methodEnd = isGet ? 3 : endOf(text, 0, NAME);
  if (methodEnd === 0 || text.charCodeAt(methodEnd) !== SP) throw malformed('the method is not a token');
  const targetEnd = endOf(text, methodEnd + 1, TARGET);
  if (targetEnd === methodEnd + 1 || text.charCodeAt(targetEnd) !== SP) {
    throw malformed('the target has characters no target has');
  }
  const lineEnd = text.indexOf('\r\n', targetEnd);
  return {
    method: isGet ? 'GET' : text.substring(0, methodEnd),
    target: text.substring(methodEnd + 1, targetEnd),
    version: versionOf(text.substring(targetEnd + 1, lineEnd)),
    fields: sectionOf(text.substring(lineEnd + 2), maxFields),
  };
}

/** Of all connections: what is made of a text alone is nobody's. */
const sections = new Recent<FieldList>();

/** The same list for the same text, for a while: whoever makes something of a list can keep it beside. */
function sectionOf(text: string, maxFields: number): FieldList {
  const known = sections.get(text);
  if (known !== undefined && known.length <= maxFields) return known;
  const fields = readFields(text, 0, maxFields);
  sections.keep(text, fields);
  return fields;
}

/** Reads field lines from `at` to the end of `text`; of a head or of a trailer section. @throws as {@link readHead} */
export function readFields(text: string, from: number, maxFields: number): FieldList {
  const fields: (readonly [string, string])[] = [];
  let at = from;
  while (at < text.length) {
    const start = at;
    let seen = 0;
    // A folded line begins with white space, which is in no name: it ends here too (RFC 9112 §5.2).
    for (let kind; ((kind = CLASSES[text.charCodeAt(at)] ?? 0) & NAME) !== 0; at++) seen |= kind;
    if (at === start || text.charCodeAt(at) !== COLON) throw malformed('a field name is not a token');
    const name = text.substring(start, at);
    at += 1;
    while (isBlank(text.charCodeAt(at))) at += 1;
    const valueStart = at;
    at = endOf(text, at, VALUE);
    // Complete lines come in: what stops a value is its line end, or what stands in none.
    if (text.charCodeAt(at) !== CR || text.charCodeAt(at + 1) !== 0x0a) {
      throw malformed('a field value has control characters');
    }
    let valueEnd = at;
    while (valueEnd > valueStart && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd -= 1;
    if (fields.length >= maxFields) throw refusal('HEAD_TOO_LARGE', 'the request has too many fields');
    fields.push([(seen & UPPER) === 0 ? name : name.toLowerCase(), text.substring(valueStart, valueEnd)]);
    at += 2;
  }
  return fields;
}

/** True when `byte` may come first in a request line: anything else is another protocol. */
export function beginsRequest(byte: number): boolean {
  return ((CLASSES[byte] ?? 0) & NAME) !== 0;
}

function endOf(text: string, from: number, kind: number): number {
  let at = from;
  while (((CLASSES[text.charCodeAt(at)] ?? 0) & kind) !== 0) at += 1;
  return at;
}

function versionOf(text: string): '1.0' | '1.1' {
  if (text === 'HTTP/1.1') return '1.1';
  if (text === 'HTTP/1.0') return '1.0';
  if (/^HTTP\/\d\.\d$/.test(text)) throw refusal('HTTP_VERSION_UNSUPPORTED', 'this gateway speaks HTTP/1.1');
  throw malformed('the request line does not end with a version');
}

/** True for the white space HTTP knows within a line. */
export function isBlank(code: number): boolean {
  return code === SP || code === TAB;
}

function malformed(message: string): MoatError<GatewayErrorCode> {
  return refusal('REQUEST_MALFORMED', message);
}

function classes(): Uint8Array {
  const table = new Uint8Array(256);
  for (const mark of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") table[mark.charCodeAt(0)] = NAME;
  for (let code = 0x41; code <= 0x5a; code++) table[code] = NAME | UPPER;
  for (let code = 0; code < 256; code++) {
    const isVisible = code > SP && code !== 0x7f;
    table[code] = (table[code] ?? 0) | (isVisible || isBlank(code) ? VALUE : 0);
    // No fragment in a target, and nothing above ASCII (RFC 9112 §3.2).
    if (isVisible && code < 0x7f && code !== 0x23) table[code] = (table[code] ?? 0) | TARGET;
  }
  return table;
}
