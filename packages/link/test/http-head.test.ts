import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import type { FieldList, RequestHead } from '@moat/core';

import {
  decodeRequestHead,
  decodeResponseHead,
  decodeTrailers,
  encodeRequestHead,
  encodeResponseHead,
  encodeTrailers,
} from '../src/http-head.ts';
import { decodeOpen, encodeOpen } from '../src/open.ts';

const head: RequestHead = {
  method: 'POST',
  authority: 'shop.example.com:8443',
  target: '/a/b?c=d%20e',
  fields: [
    ['content-length', '12'],
    ['cookie', 'a=b; c="d"'],
    ['x-empty', ''],
    ['x-latin', 'caf\u00e9\ttab'],
  ],
  bodyless: false,
};

const LOWER = 'abcdefghijklmnopqrstuvwxyz0123456789-_.!~';
const text = (alphabet: string, least: number, most: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...alphabet.split('')), { minLength: least, maxLength: most }).map((list) => list.join(''));
const value = fc
  .array(
    fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f),
    { maxLength: 60 },
  )
  .map((codes) => String.fromCharCode(...codes));
const fields: fc.Arbitrary<FieldList> = fc.array(
  fc.tuple(
    text(LOWER, 1, 20).map((name) => `x-${name}`),
    value,
  ),
  { maxLength: 30 },
);
const request: fc.Arbitrary<RequestHead> = fc.record(
  {
    method: text('ABCDEFGHIJKLMNOPQRSTUVWXYZ', 1, 20),
    authority: text('abcdefghijklmnopqrstuvwxyz0123456789.-', 1, 60),
    target: text('abcXYZ0129/?&=%._-~', 0, 100).map((path) => `/${path}`),
    fields,
    bodyless: fc.boolean(),
    upgrade: text('abcdefghij', 1, 20),
    more: fields.filter((list) => list.length > 0),
  },
  { noNullPrototype: true, requiredKeys: ['method', 'authority', 'target', 'fields', 'bodyless'] },
);

describe('request heads', () => {
  test('round trip', () => {
    assert.deepEqual(decodeRequestHead(encodeRequestHead(head)), head);
    fc.assert(
      fc.property(request, (any) => assert.deepEqual(decodeRequestHead(Buffer.from(encodeRequestHead(any))), any)),
    );
  });

  test('a vector', () => {
    const bytes = encodeRequestHead({
      method: 'GET',
      authority: 'a',
      target: '/',
      fields: [['b', 'c']],
      bodyless: true,
    });
    assert.equal(bytes.toString('hex'), '010300010001474554612f0001000100016263');
    const varying = encodeRequestHead({
      method: 'GET',
      authority: 'a',
      target: '/',
      fields: [],
      more: [['b', 'c']],
      bodyless: false,
    });
    assert.equal(varying.toString('hex'), '0403000100010008474554612f00010001000162630000');
  });

  test('what could end a line, a field or a name is refused both ways', () => {
    const bad: Partial<RequestHead>[] = [
      { method: 'GET /' },
      { method: '' },
      { authority: '' },
      { authority: 'Shop.example' },
      { authority: 'a/b' },
      { authority: 'user@host' },
      { target: '' },
      { target: 'http://a/' },
      { target: '/a b' },
      { target: '/a\r\nx: y' },
      { target: '/a\u0000' },
      { target: '/a#b' },
      { target: '/\u010d' },
      { upgrade: 'web socket' },
      { upgrade: 'WebSocket' },
      { upgrade: '' },
      { fields: [['a', 'b\r\nc: d']] },
      { fields: [['a', 'b\nc']] },
      { fields: [['a', 'b\u0000']] },
      { fields: [['a', '\u010d']] },
      { fields: [['a', '\u007f']] },
      { fields: [['', 'b']] },
      { fields: [['a b', 'c']] },
      { fields: [['a:', 'c']] },
      { fields: [['Accept', 'c']] },
      { fields: [['transfer-encoding', 'chunked']] },
      { fields: [['connection', 'close']] },
      { fields: [['keep-alive', '1']] },
      { fields: [['proxy-connection', '1']] },
      { fields: [['upgrade', 'h2c']] },
      { fields: [['host', 'other.example']] },
      { fields: [['content-length', '1, 1']] },
      { fields: [['content-length', '+1']] },
      {
        fields: [
          ['content-length', '1'],
          ['content-length', '1'],
        ],
      },
      { bodyless: true, fields: [['content-length', '5']] },
      { bodyless: true, more: [['content-length', '5']] },
      { fields: [['content-length', '1']], more: [['content-length', '1']] },
      { more: [['connection', 'close']] },
      { more: [['A', '']] },
      { more: [['a', 'b\nc']] },
    ];
    for (const part of bad) {
      assert.throws(
        () => encodeRequestHead({ ...head, fields: [], ...part }),
        { code: 'HEAD_INVALID' },
        JSON.stringify(part),
      );
    }
    assert.deepEqual(decodeRequestHead(encodeRequestHead({ ...head, method: 'OPTIONS', target: '*' })).target, '*');
  });

  test('sizes are bounded', () => {
    const big: FieldList = [
      ['a', 'x'.repeat(40_000)],
      ['b', 'x'.repeat(40_000)],
    ];
    assert.throws(() => encodeRequestHead({ ...head, fields: big }), { code: 'HEAD_TOO_LARGE' });
    assert.throws(() => encodeRequestHead({ ...head, fields: [['a', 'x'.repeat(70_000)]] }), {
      code: 'HEAD_TOO_LARGE',
    });
    const many = Array.from({ length: 1025 }, (): readonly [string, string] => ['a', '']);
    assert.throws(() => encodeRequestHead({ ...head, fields: many }), { code: 'HEAD_TOO_LARGE' });
    const both = { fields: many.slice(0, 1000), more: many.slice(0, 25) };
    assert.throws(() => encodeRequestHead({ ...head, ...both }), { code: 'HEAD_TOO_LARGE' });
    const [first = [], second = []] = big.map((field) => [field]);
    assert.throws(() => encodeRequestHead({ ...head, fields: first, more: second }), { code: 'HEAD_TOO_LARGE' });
  });

  test('a changed byte is refused or gives a head that holds every rule', () => {
    const bytes = Buffer.from(encodeRequestHead(head));
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, byte) => {
        const changed = Buffer.from(bytes);
        changed[at] = byte;
        checkDecoder(() => decodeRequestHead(changed), encodeRequestHead);
      }),
      { numRuns: 3000 },
    );
  });

  test('random bytes end in a coded error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        checkDecoder(() => decodeRequestHead(Buffer.from(bytes)), encodeRequestHead);
        checkDecoder(() => decodeResponseHead(Buffer.from(bytes)), encodeResponseHead);
        checkDecoder(() => decodeTrailers(Buffer.from(bytes)), encodeTrailers);
      }),
      { numRuns: 3000 },
    );
  });

  test('every cut is refused', () => {
    const bytes = Buffer.from(encodeRequestHead(head));
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decodeRequestHead(bytes.subarray(0, length)), { code: 'HEAD_INVALID' });
    }
    assert.throws(() => decodeRequestHead(Buffer.concat([bytes, Buffer.of(0)])), { code: 'HEAD_INVALID' });
  });
});

describe('response heads and trailers', () => {
  test('round trip', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 599 }), fields, (status, list) => {
        const response = { status, fields: list };
        assert.deepEqual(decodeResponseHead(Buffer.from(encodeResponseHead(response))), response);
        assert.deepEqual(decodeTrailers(Buffer.from(encodeTrailers(list))), list);
      }),
    );
  });

  test('rules', () => {
    for (const status of [99, 600, 200.5, Number.NaN]) {
      assert.throws(() => encodeResponseHead({ status, fields: [] }), { code: 'HEAD_INVALID' });
    }
    assert.throws(() => encodeResponseHead({ status: 200, fields: [['transfer-encoding', 'x']] }), {
      code: 'HEAD_INVALID',
    });
    assert.equal(encodeResponseHead({ status: 426, fields: [['upgrade', 'h2c']] }).length > 0, true);
    assert.throws(() => encodeTrailers([['content-length', '1']]), { code: 'HEAD_INVALID' });
    assert.deepEqual(decodeTrailers(Buffer.alloc(0)), []);
  });
});

describe('opens', () => {
  const deployment = 'q7f3aaaaaaaaaaaaaaaaaaaaaa';

  test('round trip', () => {
    const tcp = { deployment, service: 'db', kind: 'tcp' } as const;
    assert.deepEqual(decodeOpen(encodeOpen(tcp, undefined)), { request: tcp, head: undefined, arrival: undefined });
    const http = { deployment, service: 'a'.repeat(63), kind: 'http' } as const;
    const decoded = decodeOpen(encodeOpen(http, head));
    assert.deepEqual(decoded.request, http);
    assert.deepEqual(decodeRequestHead(decoded.head ?? Buffer.alloc(0)), head);
  });

  test('only what fits its kind', () => {
    assert.throws(() => encodeOpen({ deployment, service: 'db', kind: 'tcp' }, head), { code: 'FRAME_INVALID' });
    assert.throws(() => encodeOpen({ deployment, service: 'db', kind: 'http' }, undefined), { code: 'FRAME_INVALID' });
    assert.throws(() => encodeOpen({ deployment: 'x', service: 'db', kind: 'tcp' }, undefined), {
      code: 'FRAME_INVALID',
    });
    assert.throws(() => encodeOpen({ deployment, service: 'D B', kind: 'tcp' }, undefined), { code: 'FRAME_INVALID' });
  });

  test('random bytes end in a coded error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decodeOpen(Buffer.from(bytes));
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'FRAME_INVALID');
        }
      }),
      { numRuns: 2000 },
    );
  });
});

/** Decodes to a coded error, or to something that the encoder takes too. */
function checkDecoder<T>(decode: () => T, encode: (value: T) => Buffer): void {
  let decoded: T;
  try {
    decoded = decode();
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'HEAD_INVALID');
    return;
  }
  encode(decoded);
}
