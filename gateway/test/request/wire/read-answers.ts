/** Reads what a client gets, by the letter of RFC 9112 §6.3: bytes that belong to no answer are an error. */
import assert from 'node:assert/strict';

export interface WireAnswer {
  readonly version: string;
  readonly status: number;
  readonly reason: string;
  /** Names in lower case; of a repeated one the last. */
  readonly fields: ReadonlyMap<string, string>;
  readonly body: string;
  /** `length`, `chunked` and `none` end by themselves, `close` with the connection. */
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
  readonly trailers: readonly string[];
  /** Statuses of the 1xx answers in front of it. */
  readonly interim: readonly number[];
  /** False when the connection ended within it. */
  readonly whole: boolean;
}

/** Answers to requests of these methods, in order; the methods not given are GET. */
export function readAnswers(text: string, methods: readonly string[] = []): WireAnswer[] {
  const answers: WireAnswer[] = [];
  let at = 0;
  let interim: number[] = [];
  while (at < text.length) {
    const end = text.indexOf('\r\n\r\n', at);
    assert.ok(end !== -1, `no head at ${JSON.stringify(text.slice(at, at + 80))}`);
    const [start = '', ...lines] = text.slice(at, end).split('\r\n');
    const match = /^HTTP\/(1\.[01]) ([1-5]\d\d) ([\t \x21-\x7e]*)$/.exec(start);
    assert.ok(match, `no status line: ${JSON.stringify(start)}`);
    const [, version = '', code = '', reason = ''] = match;
    const fields = new Map<string, string>();
    for (const line of lines) {
      const field = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e\x80-\xff]*?)[\t ]*$/.exec(line);
      assert.ok(field, `no field line: ${JSON.stringify(line)}`);
      const name = (field[1] ?? '').toLowerCase();
      assert.ok(!(name === 'content-length' && fields.has(name)), 'content-length stands twice');
      fields.set(name, field[2] ?? '');
    }
    at = end + 4;
    const status = Number(code);
    if (status < 200 && status !== 101) {
      interim.push(status);
      assert.ok(!fields.has('content-length') && !fields.has('transfer-encoding'), 'an interim answer with framing');
      continue;
    }
    const rest = bodyOf(text.slice(at), status, methods[answers.length] ?? 'GET', fields);
    at += rest.taken;
    const { body, framing, trailers, whole } = rest;
    answers.push({ version, status, reason, fields, body, framing, trailers, interim, whole });
    interim = [];
  }
  return answers;
}

type Body = Pick<WireAnswer, 'body' | 'framing' | 'trailers' | 'whole'> & { readonly taken: number };

function bodyOf(text: string, status: number, method: string, fields: ReadonlyMap<string, string>): Body {
  const none = { trailers: [], whole: true };
  if (method === 'HEAD' || status === 204 || status === 304) return { ...none, body: '', framing: 'none', taken: 0 };
  const coding = fields.get('transfer-encoding');
  const length = fields.get('content-length');
  assert.ok(!(coding !== undefined && length !== undefined), 'an answer with both lengths');
  if (coding !== undefined) {
    assert.equal(coding, 'chunked');
    return chunked(text);
  }
  if (length === undefined) return { ...none, body: text, framing: 'close', taken: text.length };
  assert.match(length, /^\d+$/);
  const body = text.slice(0, Number(length));
  return { ...none, body, framing: 'length', taken: body.length, whole: body.length === Number(length) };
}

function chunked(text: string): Body {
  let body = '';
  let at = 0;
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end === -1) return { body, framing: 'chunked', trailers: [], whole: false, taken: text.length };
    const line = text.slice(at, end);
    assert.match(line, /^[0-9a-fA-F]+$/, 'a chunk size');
    const size = Number.parseInt(line, 16);
    at = end + 2;
    if (size === 0) break;
    body += text.slice(at, at + size);
    if (text.length < at + size + 2)
      return { body, framing: 'chunked', trailers: [], whole: false, taken: text.length };
    assert.equal(text.slice(at + size, at + size + 2), '\r\n', 'the end of a chunk');
    at += size + 2;
  }
  const trailers: string[] = [];
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end === -1) return { body, framing: 'chunked', trailers, whole: false, taken: text.length };
    const line = text.slice(at, end);
    at = end + 2;
    if (line === '') return { body, framing: 'chunked', trailers, whole: true, taken: at };
    trailers.push(line);
  }
}
