/**
 * Writes one request to a service as HTTP/1.1. The head arrives structured and is serialised afresh: no
 * byte of the client's own HTTP reaches the service, so there is one reading of where the request ends.
 */
import { MoatError, type FieldList, type RequestHead } from '@moat/core';
import { isFieldValue, isRewritten, isToken, isTrailerAllowed, parseContentLength } from './fields.ts';

/** `path?query` in visible bytes, also those some clients do not encode; a fragment never travels. */
const TARGET = /^\/[\x21\x22\x24-\x7e\x80-\xff]*$/;
const AUTHORITY = /^(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/i;
const CRLF = Buffer.from('\r\n');

/** How the body is framed; `length` counts down as bytes are written. */
type Framing = { readonly kind: 'none' } | { readonly kind: 'chunked' } | { readonly kind: 'length'; left: number };

/** A request on its way: its head, then its body piece by piece. */
export class RequestWriter {
  /** The head, ready to send. */
  readonly head: Buffer;
  /** True when sending it again does no harm and needs nothing but the head (RFC 9110 §9.2.1). */
  readonly replayable: boolean;
  /** Protocol asked for, lower case. */
  readonly upgrade: string | undefined;
  readonly method: string;
  readonly #framing: Framing;

  /** @throws `REQUEST_INVALID` */
  constructor(head: RequestHead) {
    if (!isToken(head.method) || head.method.length > 32) throw invalid('method');
    if (head.method === 'CONNECT') throw invalid('method');
    if (!(TARGET.test(head.target) || (head.target === '*' && head.method === 'OPTIONS'))) throw invalid('target');
    if (!AUTHORITY.test(head.authority)) throw invalid('authority');
    this.method = head.method;
    this.upgrade = upgradeOf(head);
    this.#framing = framingOf(head, this.upgrade !== undefined);
    this.replayable =
      this.#framing.kind === 'none' && this.upgrade === undefined && /^(?:GET|HEAD|OPTIONS)$/.test(head.method);
    this.head = Buffer.from(this.#serialise(head), 'latin1');
  }

  /** True when body bytes may follow. */
  get hasBody(): boolean {
    return this.#framing.kind !== 'none';
  }

  /** A piece of the body as it goes on the wire, copied. @throws `REQUEST_INVALID` beyond the announced length */
  body(chunk: Uint8Array): Buffer {
    const framing = this.#framing;
    if (framing.kind === 'none') throw invalid('body');
    if (framing.kind === 'length') {
      if (chunk.length > framing.left) throw invalid('content-length');
      framing.left -= chunk.length;
      return Buffer.from(chunk);
    }
    // An empty chunk would end the body.
    if (chunk.length === 0) return Buffer.alloc(0);
    return Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`, 'latin1'), chunk, CRLF]);
  }

  /** What ends the body. @throws `REQUEST_INVALID` when bytes are missing */
  end(trailers: FieldList): Buffer {
    if (this.#framing.kind === 'length' && this.#framing.left > 0) throw invalid('content-length');
    if (this.#framing.kind !== 'chunked') return Buffer.alloc(0);
    const lines = trailers
      .filter(([name, value]) => isToken(name) && isFieldValue(value) && isTrailerAllowed(name.toLowerCase()))
      .map(([name, value]) => `${name}: ${value}\r\n`);
    return Buffer.from(`0\r\n${lines.join('')}\r\n`, 'latin1');
  }

  #serialise(head: RequestHead): string {
    let text = `${head.method} ${head.target} HTTP/1.1\r\nhost: ${head.authority}\r\n`;
    const cookies: string[] = [];
    for (const [name, value] of head.fields) {
      if (!isToken(name) || !isFieldValue(value)) throw invalid('field');
      const lower = name.toLowerCase();
      if (lower === 'cookie') cookies.push(value);
      else if (!isRewritten(lower)) text += `${lower}: ${value}\r\n`;
    }
    // HTTP/2 clients send cookies one by one; HTTP/1.1 knows one field (RFC 9113 §8.2.3).
    if (cookies.length > 0) text += `cookie: ${cookies.join('; ')}\r\n`;
    if (this.#framing.kind === 'chunked') text += 'transfer-encoding: chunked\r\n';
    else if (this.#framing.kind === 'length') text += `content-length: ${this.#framing.left}\r\n`;
    else if (/^(?:POST|PUT|PATCH)$/.test(head.method)) text += 'content-length: 0\r\n';
    text += this.upgrade === undefined ? '\r\n' : `connection: upgrade\r\nupgrade: ${this.upgrade}\r\n\r\n`;
    return text;
  }
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

function framingOf(head: RequestHead, upgrading: boolean): Framing {
  const lengths = head.fields.filter(([name]) => name.toLowerCase() === 'content-length').map(([, value]) => value);
  const length = lengths.length === 0 ? undefined : parseContentLength(lengths[0] as string);
  if (lengths.length > 1 || (lengths.length === 1 && length === undefined)) throw invalid('content-length');
  if (head.fields.some(([name]) => name.toLowerCase() === 'transfer-encoding')) throw invalid('transfer-encoding');
  if (head.bodyless || upgrading) {
    if ((length ?? 0) > 0) throw invalid('content-length');
    return { kind: 'none' };
  }
  return length === undefined ? { kind: 'chunked' } : { kind: 'length', left: length };
}

function invalid(part: string): MoatError<'REQUEST_INVALID'> {
  return new MoatError('REQUEST_INVALID', `the request's ${part} cannot be written without ambiguity`, {
    details: { part },
  });
}
