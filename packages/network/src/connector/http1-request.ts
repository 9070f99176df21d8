/**
 * Writes one request to a service as HTTP/1.1. The head arrives structured and is serialised afresh: no
 * byte of the client's own HTTP reaches the service, so there is one reading of where the request ends.
 */
import { MoatError, isTrailerAllowed, type FieldList, type RequestHead } from '@moat/core';
import { FIELD_BYTE, LOWER_TCHAR, isFieldValue, isToken, parseContentLength, requestRole } from './fields.ts';
import type { Piece } from './send.ts';

/** `path?query` in visible bytes, also those some clients do not encode; a fragment never travels. */
const TARGET_BYTE: Readonly<Uint8Array> = FIELD_BYTE.map((allowed, byte) =>
  byte === 0x09 || byte === 0x20 || byte === 0x23 ? 0 : allowed,
);
const AUTHORITY = /^(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/i;
const BEYOND_LATIN1 = /[^\0-\xff]/;
const SLASH = 0x2f;
const MAX_METHOD_BYTES = 32;

/** How the body is framed. */
type Framing = 'none' | 'chunked' | 'length';

/** A request on its way: its head, then its body piece by piece. */
export class RequestWriter {
  /** True when sending it again does no harm and needs nothing but the head (RFC 9110 §9.2.1). */
  readonly replayable: boolean;
  /** Protocol asked for, lower case. */
  readonly upgrade: string | undefined;
  readonly method: string;
  /** Length of the head. */
  readonly headBytes: number;
  #framing: Framing = 'none';
  /** Bytes of the body still to come, with framing `length`. */
  #left = 0;

  /** Writes the head to the beginning of `into`. @throws `REQUEST_INVALID`, also when it does not fit */
  constructor(head: RequestHead, into: Buffer) {
    const { method, target } = head;
    if (!isToken(method) || method.length > MAX_METHOD_BYTES || method === 'CONNECT') throw invalid('method');
    if (!isPath(target) && !(target === '*' && method === 'OPTIONS')) throw invalid('target');
    if (!AUTHORITY.test(head.authority)) throw invalid('authority');
    this.method = method;
    this.upgrade = upgradeOf(head);
    this.headBytes = this.#writeHead(head, into);
    const safe = method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
    this.replayable = safe && this.#framing === 'none' && this.upgrade === undefined;
  }

  /** True when body bytes may follow. */
  get hasBody(): boolean {
    return this.#framing !== 'none';
  }

  /** A piece of the body as it goes on the wire; not copied. @throws `REQUEST_INVALID` beyond the announced length */
  body(chunk: Uint8Array): readonly Piece[] {
    if (this.#framing === 'none') throw invalid('body');
    // An empty chunk would end the body.
    if (chunk.length === 0) return [];
    if (this.#framing === 'chunked') return [`${chunk.length.toString(16)}\r\n`, chunk, '\r\n'];
    if (chunk.length > this.#left) throw invalid('content-length');
    this.#left -= chunk.length;
    return [chunk];
  }

  /** What ends the body. @throws `REQUEST_INVALID` when bytes are missing */
  end(trailers: FieldList): readonly Piece[] {
    if (this.#framing === 'length' && this.#left > 0) throw invalid('content-length');
    if (this.#framing !== 'chunked') return [];
    let text = '0\r\n';
    for (const [name, value] of trailers) {
      if (isToken(name) && isFieldValue(value) && isTrailerAllowed(name.toLowerCase())) text += `${name}: ${value}\r\n`;
    }
    return [`${text}\r\n`];
  }

  #writeHead(head: RequestHead, into: Buffer): number {
    const first = `${head.method} ${head.target} HTTP/1.1\r\nhost: ${head.authority}\r\n`;
    const fields: FieldList[number][] = [];
    let text = first;
    let cookies = '';
    let length: number | undefined;
    for (const field of head.fields) {
      const [name, value] = field;
      const role = requestRole(name);
      if (role === 'plain') {
        fields.push(field);
        text += `${name}: ${value}\r\n`;
        continue;
      }
      if (!isFieldValue(value)) throw invalid('field');
      // HTTP/2 clients send cookies one by one; HTTP/1.1 knows one field (RFC 9113 §8.2.3).
      if (role === 'cookie') cookies = cookies === '' ? value : `${cookies}; ${value}`;
      else if (role === 'transfer-encoding') throw invalid('transfer-encoding');
      else if (role === 'content-length') {
        if (length !== undefined) throw invalid('content-length');
        length = parseContentLength(value);
        if (length === undefined) throw invalid('content-length');
      }
    }
    if (cookies !== '') text += `cookie: ${cookies}\r\n`;
    text += this.#frame(head, length);
    if (text.length > into.length || BEYOND_LATIN1.test(text)) throw invalid('field');
    into.write(text, 0, 'latin1');
    checkFields(into, first.length, fields);
    return text.length;
  }

  /** Decides how the body is framed; returns the last lines of the head, which say so. */
  #frame({ method, bodyless }: RequestHead, length: number | undefined): string {
    if (bodyless || this.upgrade !== undefined) {
      if ((length ?? 0) > 0) throw invalid('content-length');
      const said = method === 'POST' || method === 'PUT' || method === 'PATCH' ? 'content-length: 0\r\n' : '';
      if (this.upgrade === undefined) return `${said}\r\n`;
      return `${said}connection: upgrade\r\nupgrade: ${this.upgrade}\r\n\r\n`;
    }
    if (length === undefined) {
      this.#framing = 'chunked';
      return 'transfer-encoding: chunked\r\n\r\n';
    }
    this.#framing = 'length';
    this.#left = length;
    return `content-length: ${length}\r\n\r\n`;
  }
}

/** Checks the fields where they now stand, one look at each byte, and makes names lower case: none of them can hold a second line. */
function checkFields(bytes: Buffer, from: number, fields: FieldList): void {
  let at = from;
  for (const [name, value] of fields) {
    if (name === '') throw invalid('field');
    for (const end = at + name.length; at < end; at++) {
      const byte = LOWER_TCHAR[bytes[at] as number] as number;
      if (byte === 0) throw invalid('field');
      bytes[at] = byte;
    }
    at += 2;
    for (const end = at + value.length; at < end; at++) {
      if (FIELD_BYTE[bytes[at] as number] !== 1) throw invalid('field');
    }
    at += 2;
  }
}

function isPath(target: string): boolean {
  for (let i = 0; i < target.length; i++) {
    if (TARGET_BYTE[target.charCodeAt(i)] !== 1) return false;
  }
  return target.charCodeAt(0) === SLASH;
}

/** `h2c` would hide every later request of the connection from whoever checks requests. */
function upgradeOf(head: RequestHead): string | undefined {
  if (head.upgrade === undefined) return undefined;
  const upgrade = head.upgrade.toLowerCase();
  const tokens = upgrade.split('/');
  if (tokens.length > 2 || !tokens.every(isToken) || upgrade.startsWith('h2') || upgrade.startsWith('http')) {
    throw invalid('upgrade');
  }
  return upgrade;
}

function invalid(part: string): MoatError<'REQUEST_INVALID'> {
  return new MoatError('REQUEST_INVALID', `the request's ${part} cannot be written without ambiguity`, {
    details: { part },
  });
}
