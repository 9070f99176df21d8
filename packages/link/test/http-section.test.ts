import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import type { FieldList, RequestHead } from '@moat/core';

import { decodeRequestHead, decodeResponseHead, encodeRequestHead, encodeResponseHead } from '../src/http-head.ts';

const start = { method: 'GET', authority: 'a', target: '/', bodyless: true } as const;
const encode = (fields: FieldList): Buffer => Buffer.from(encodeRequestHead({ ...start, fields }));
const decode = (bytes: Buffer): FieldList => decodeRequestHead(bytes).fields;

describe('sections that repeat', () => {
  test('the same bytes give the same list', () => {
    const bytes = encode([['a', 'b']]);
    const list = decode(bytes);
    assert.deepEqual(list, [['a', 'b']]);
    assert.equal(decode(bytes), list);
    const varied = decodeRequestHead(encodeRequestHead({ ...start, target: '/x', fields: list, more: [['c', 'd']] }));
    assert.equal(varied.fields, list);
    assert.deepEqual(varied.more, [['c', 'd']]);
  });

  test('the same list gives the same bytes, however often', () => {
    const list: FieldList = [
      ['a', 'caf\u00e9'],
      ['b', ''],
    ];
    const fresh = encode(structuredClone(list)).toString('hex');
    for (let time = 0; time < 4; time++) assert.equal(encode(list).toString('hex'), fresh);
  });

  test('lists that differ only in where their texts are cut stay apart', () => {
    const lists: FieldList[] = [
      [['ab', 'cd']],
      [['a', 'bcd']],
      [['abc', 'd']],
      [['abcd', '']],
      [
        ['a', 'c'],
        ['b', 'd'],
      ],
      [
        ['a', 'cd'],
        ['b', ''],
      ],
    ];
    for (let time = 0; time < 3; time++) {
      for (const list of lists) assert.deepEqual(decode(encode(list)), list);
    }
  });

  test('no list is ever taken for another, whatever came before', () => {
    // Of the same length and nearly the same characters: most share their place with others.
    const similar: fc.Arbitrary<FieldList> = fc.array(
      fc.tuple(
        fc.constantFrom('aa', 'ab', 'ba'),
        fc.constantFrom('x'.repeat(40), `${'x'.repeat(20)}y${'x'.repeat(19)}`),
      ),
      { minLength: 1, maxLength: 4 },
    );
    fc.assert(
      fc.property(fc.array(similar, { maxLength: 40 }), (lists) => {
        for (const list of [...lists, ...lists]) {
          const response = { status: 200, fields: list };
          assert.deepEqual(decodeResponseHead(Buffer.from(encodeResponseHead(response))), response);
          assert.deepEqual(decode(encode(list)), list);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('what a response may say is refused in a request, though it is known', () => {
    const list: FieldList = [['upgrade', 'h2c']];
    for (let time = 0; time < 3; time++) {
      const bytes = Buffer.from(encodeResponseHead({ status: 426, fields: list }));
      assert.deepEqual(decodeResponseHead(bytes).fields, list);
      assert.throws(() => encode(list), { code: 'HEAD_INVALID' });
      const request = Buffer.concat([encode([]).subarray(0, -2), bytes.subarray(2)]);
      assert.throws(() => decode(request), { code: 'HEAD_INVALID' });
    }
  });

  test('rules about both lists hold for lists that are known', () => {
    const fields: FieldList = [['content-length', '5']];
    const more: FieldList = [['content-length', '5']];
    const post: RequestHead = { ...start, method: 'POST', bodyless: false, fields };
    const bytes = Buffer.from(encodeRequestHead(post));
    for (let time = 0; time < 3; time++) {
      assert.deepEqual(decodeRequestHead(Buffer.from(encodeRequestHead(post))), post);
      assert.deepEqual(decodeRequestHead(Buffer.from(encodeRequestHead({ ...post, fields: [], more }))).more, more);
      assert.throws(() => encodeRequestHead({ ...post, more }), { code: 'HEAD_INVALID' });
      assert.throws(() => encodeRequestHead({ ...post, bodyless: true }), { code: 'HEAD_INVALID' });
      const bodyless = Buffer.from(bytes);
      bodyless[0] = 1;
      assert.throws(() => decodeRequestHead(bodyless), { code: 'HEAD_INVALID' });
      assert.throws(() => decodeRequestHead(spliced(bytes, encodeRequestHead({ ...post, fields: [], more }))), {
        code: 'HEAD_INVALID',
      });
    }
  });

  test('an empty list of further fields is none, and refused on the wire', () => {
    const bytes = encode([]);
    assert.deepEqual(Buffer.from(encodeRequestHead({ ...start, fields: [], more: [] })), bytes);
    const empty = Buffer.concat([Buffer.of(5, 3, 0, 1, 0, 1, 0, 2), Buffer.from('GETa/'), Buffer.alloc(4)]);
    assert.throws(() => decodeRequestHead(empty), { code: 'HEAD_INVALID' });
  });
});

/** The head of `varying`, which has no other fields, with the fields of `repeating`, whose start is as long without `more`. */
function spliced(repeating: Buffer, varying: Buffer): Buffer {
  const sectionAt = 6 + 'POSTa/'.length;
  return Buffer.concat([varying.subarray(0, -2), repeating.subarray(sectionAt)]);
}
