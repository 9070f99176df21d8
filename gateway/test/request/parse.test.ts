import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError, isTrailerAllowed } from '@moat/core';
import fc from 'fast-check';
import { hostOfName, isUnderDomain, normaliseHost, parseAuthority } from '../../src/names/host.ts';
import type { ClientRequest } from '../../src/request/client-request.ts';
import { inwardHead } from '../../src/request/edge.ts';
import { endToEndFields } from '../../src/request/fields.ts';
import { readHead, type RawHead } from '../../src/request/http1-head.ts';
import { parseHead } from '../../src/request/parse.ts';
import { checkAnswer, errorAnswer } from '../../src/request/respond.ts';
import { refusal } from '../../src/errors.ts';

const HTTPS = { scheme: 'https' } as const;
const HOST = ['host', 'shop.localhost'] as const;
const raw = (changes: Partial<RawHead> = {}): RawHead => ({
  method: 'GET',
  target: '/',
  version: '1.1',
  fields: [HOST],
  ...changes,
});

test('a plain request', () => {
  const text = 'POST /a?b HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length:\t3 \r\nX-Y:z\r\n';
  assert.deepEqual(parseHead(readHead(text, 3), HTTPS), {
    method: 'POST',
    authority: 'shop.localhost',
    host: 'shop.localhost',
    target: '/a?b',
    version: '1.1',
    fields: [
      ['content-length', '3'],
      ['x-y', 'z'],
    ],
    upgrade: undefined,
    bodyless: false,
    contentLength: 3,
    expectsContinue: false,
    wantsClose: false,
  });
});

test('the authority keeps its port, the host does not', () => {
  const head = parseHead(raw({ fields: [['host', 'SHOP.localhost.:8443']] }), HTTPS);
  assert.deepEqual([head.authority, head.host], ['shop.localhost:8443', 'shop.localhost']);
});

const text = fc.oneof(
  fc.string(),
  fc.constantFrom(
    'chunked',
    'Chunked',
    '0',
    '5',
    'close',
    'upgrade',
    'websocket',
    'shop.localhost',
    '100-continue',
    'content-length',
  ),
);
const name = fc.oneof(
  fc.constantFrom(
    'Host',
    'Content-Length',
    'Transfer-Encoding',
    'Connection',
    'Upgrade',
    'Expect',
    'X-A',
    'content_length',
  ),
  fc.string({ maxLength: 12 }),
);

test('any head is one unambiguous request or a coded refusal', () => {
  const heads = fc.record({
    method: fc.oneof(fc.constantFrom('GET', 'POST', 'OPTIONS', 'CONNECT'), fc.string({ maxLength: 8 })),
    target: fc.oneof(fc.constantFrom('/', '*', 'https://shop.localhost/x'), fc.webPath(), fc.string()),
    version: fc.constantFrom('1.1', '1.0', '2.0', ''),
    fields: fc.array(fc.tuple(name, text), { maxLength: 8 }),
  });
  fc.assert(
    fc.property(heads, ({ method, target, version, fields }) => {
      const lines = fields.map(([field, value]) => `${field}: ${value}\r\n`).join('');
      let head: RawHead;
      let parsed;
      try {
        head = readHead(`${method} ${target} HTTP/${version}\r\n${lines}`, 8);
        parsed = parseHead(head, HTTPS);
      } catch (error) {
        assert.ok(isMoatError(error) && error.code !== 'INTERNAL', String(error));
        return;
      }
      const named = (wanted: string): number => head.fields.filter(([field]) => field === wanted).length;
      assert.equal(named('host'), 1);
      assert.ok(named('content-length') + named('transfer-encoding') <= 1);
      assert.ok(parsed.target === '*' || parsed.target.startsWith('/'));
      assert.match(parsed.target, /^[\x21-\x7e]+$/);
      for (const [field, value] of parsed.fields) {
        assert.match(field, /^[!#$%&'*+\-^`|~0-9a-z]+$/);
        assert.doesNotMatch(value, /[\0\r\n]/);
      }
      // Reading it again gives the same request.
      const again = parseHead({ ...head, target: parsed.target }, HTTPS);
      assert.deepEqual(again, parsed);
    }),
    { numRuns: 3_000 },
  );
});

test('any answer of a member is checked to the last field', () => {
  const head = parseHead(raw(), HTTPS);
  fc.assert(
    fc.property(
      fc.integer({ min: -1, max: 1_000 }),
      fc.array(fc.tuple(name, text), { maxLength: 6 }),
      (status, fields) => {
        try {
          const answer = checkAnswer({ status, fields }, head, { domain: 'localhost' });
          assert.ok(answer.status >= 101 && answer.status <= 599);
          const block = answer.fields.map(([field, value]) => `${field}: ${value}\r\n`).join('');
          assert.equal(block.split('\r\n').length - 1, answer.fields.length);
        } catch (error) {
          assert.ok(isMoatError(error, 'ANSWER_INVALID'), String(error));
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test('fields of one hop end there, those that Connection names too', () => {
  const fields = [
    ['connection', 'close, X-Hop'],
    ['connection', 'Content-Length'],
    ['x-hop', '1'],
    ['te', 'trailers'],
    ['content-length', '5'],
    ['x-fine', '2'],
  ] as const;
  assert.deepEqual(endToEndFields(fields), [
    ['content-length', '5'],
    ['x-fine', '2'],
  ]);
  assert.deepEqual(
    ['grpc-status', 'x-sum', 'host', 'set-cookie', 'x-forwarded-for', 'te', 'a_b', 'a.b'].filter(isTrailerAllowed),
    ['grpc-status', 'x-sum'],
  );
});

test('an IPv6 client is quoted where a field needs it', () => {
  const request = { id: 'i', client: { address: '2001:db8::1', port: 5 } } as ClientRequest;
  const fields = new Map(inwardHead(request, parseHead(raw(), HTTPS), { domain: 'localhost' }).fields);
  assert.equal(fields.get('forwarded'), 'for="[2001:db8::1]";host="shop.localhost";proto=https');
  assert.equal(fields.get('x-forwarded-for'), '2001:db8::1');
});

test('names are compared in one form', () => {
  assert.equal(normaliseHost('SHOP.Localhost.'), 'shop.localhost');
  assert.equal(normaliseHost('xn--mnchen-3ya.de'), 'xn--mnchen-3ya.de');
  for (const wrong of [
    '',
    '.',
    'a..b',
    '-a.b',
    'a-.b',
    'a_b.c',
    '127.0.0.1',
    '1',
    'a b',
    'a\0.b',
    'münchen.de',
    `${'a'.repeat(64)}.b`,
    `${'a.'.repeat(130)}b`,
  ]) {
    assert.equal(normaliseHost(wrong), undefined, wrong);
  }
  assert.deepEqual(parseAuthority('a.b:80'), { host: 'a.b', port: 80 });
  for (const wrong of ['a.b:', 'a.b:0', 'a.b:65536', 'a.b:80:80', '[::1]', 'u@a.b', 'a.b/c', ':80'])
    assert.equal(parseAuthority(wrong), undefined, wrong);
  assert.equal(hostOfName('shop', 'apps.example.com'), 'shop.apps.example.com');
  assert.equal(hostOfName('www.shop.example', 'apps.example.com'), 'www.shop.example');
  assert.equal(isUnderDomain('a.b.c', 'b.c'), true);
  assert.equal(isUnderDomain('x.a.b.c', 'b.c'), false);
  assert.equal(isUnderDomain('ab.c', 'b.c'), false);
});

test('pages say what happened in the form that is asked for, and nothing can be put into them', () => {
  const error = refusal('RATE_LIMITED', '<script>alert(1)</script>', { details: { retryAfterMs: 1_500 } });
  const html = errorAnswer(error, '<id>', 'text/html, application/json;q=0.9');
  assert.doesNotMatch(html.body.toString(), /<script>|<id>/);
  assert.deepEqual(
    html.fields.find(([field]) => field === 'retry-after'),
    ['retry-after', '2'],
  );
  for (const accept of ['application/json', 'application/problem+json', 'text/html;q=0.1, application/json']) {
    assert.equal(JSON.parse(errorAnswer(error, 'i', accept).body.toString()).requestId, 'i', accept);
  }
  for (const accept of [undefined, '*/*', 'text/html', 'application/json;q=0', 'text/*']) {
    assert.match(errorAnswer(error, 'i', accept).body.toString(), /^<!doctype html>/, accept);
  }
  // What is not ours to tell stays in the log.
  const inner = errorAnswer(new Error('password=x'), 'i', 'application/json');
  assert.deepEqual([inner.status, /password/.test(inner.body.toString())], [500, false]);
});
