import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { FieldList, RequestHead, ResponseHead } from '@moat/core';
import { isAuthority } from '../../src/connector/fields.ts';
import { ResponseParser } from '../../src/connector/http1-parser.ts';
import { RequestWriter } from '../../src/connector/http1-request.ts';

const HEAD: RequestHead = { method: 'GET', authority: 'shop.example', target: '/', fields: [], bodyless: true };
const FIRST = 'GET / HTTP/1.1\r\nhost: shop.example\r\n';

function written(head: Partial<RequestHead>, size = 65 * 1024): string {
  const into = Buffer.alloc(size, '#');
  const { headBytes } = new RequestWriter({ ...HEAD, ...head }, into);
  return into.toString('latin1', 0, headBytes);
}

describe('a list of fields that comes again', () => {
  it('gives the same lines each time, before and after others', () => {
    const fields: FieldList = [
      ['Accept', '*/*'],
      ['cookie', 'a=1'],
      ['x-name', 'caf\xe9'],
      ['cookie', 'b=2'],
      ['host', 'dropped.example'],
    ];
    const lines = 'accept: */*\r\nx-name: caf\xe9\r\ncookie: a=1; b=2\r\n';
    for (let i = 0; i < 4; i++) {
      assert.equal(written({ fields }), `${FIRST}${lines}\r\n`);
      assert.equal(written({ fields, target: '/?' }), `GET /? HTTP/1.1\r\nhost: shop.example\r\n${lines}\r\n`);
    }
  });

  it('is followed by the fields that vary, with one cookie field for both', () => {
    const fields: FieldList = [
      ['accept', '*/*'],
      ['cookie', 'a=1'],
    ];
    for (const id of ['1', '2', '3']) {
      assert.equal(
        written({ fields, more: [['x-request-id', id]] }),
        `${FIRST}accept: */*\r\ncookie: a=1\r\nx-request-id: ${id}\r\n\r\n`,
      );
      assert.equal(
        written({ fields, more: [['cookie', `c=${id}`]] }),
        `${FIRST}accept: */*\r\ncookie: a=1; c=${id}\r\n\r\n`,
      );
    }
    assert.equal(written({ fields: [['a', 'b']], more: [['cookie', 'c=1']] }), `${FIRST}a: b\r\ncookie: c=1\r\n\r\n`);
  });

  it('keeps its content-length, which stands in one of the two lists', () => {
    const sized: FieldList = [['content-length', '3']];
    const put = { method: 'PUT', bodyless: false } as const;
    for (let i = 0; i < 3; i++) {
      assert.match(written({ ...put, fields: sized, more: [['x-n', '1']] }), /x-n: 1\r\ncontent-length: 3\r\n\r\n$/);
      assert.match(written({ ...put, more: sized }), /content-length: 3\r\n\r\n$/);
      assert.throws(() => written({ ...put, fields: sized, more: sized }), { code: 'REQUEST_INVALID' });
      assert.throws(() => written({ fields: sized }), { code: 'REQUEST_INVALID' });
    }
  });

  it('is refused each time when it is wrong, in either list', () => {
    const wrong: FieldList[] = [
      [['x', 'a\r\nb: c']],
      [['x', '\u0100']],
      [['x\u0130', 'a']],
      [['', 'a']],
      [['a b', 'c']],
      [['transfer-encoding', 'chunked']],
    ];
    for (const list of wrong) {
      for (let i = 0; i < 3; i++) {
        assert.throws(() => written({ fields: list }), { code: 'REQUEST_INVALID' });
        assert.throws(() => written({ more: list }), { code: 'REQUEST_INVALID' });
      }
    }
  });

  it('never goes beyond the room there is', () => {
    const fields: FieldList = [['x', 'y'.repeat(100)]];
    const size = written({ fields }).length;
    for (let i = 0; i < 3; i++) {
      assert.equal(written({ fields }, size).length, size);
      for (const less of [1, 2, 50, 110, 130]) {
        assert.throws(() => written({ fields }, size - less), { code: 'REQUEST_INVALID' });
      }
    }
  });
});

it('tells authorities from anything else', () => {
  const pattern = /^(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/i;
  const texts = [
    '',
    'a',
    'A.b:80',
    'a:',
    'a:123456',
    'a:8x',
    ':80',
    '[::1]',
    '[::1]:80',
    '[::1',
    '[]',
    '[]:80',
    '[::1]80',
    'a b',
  ];
  texts.push(
    'user@host',
    'a/b',
    'a]',
    '[a]:',
    '[::ffff:1.2.3.4]:65535',
    'caf\xe9',
    '\u0161.example',
    'a:80:80',
    '[g::]',
    '~_-',
  );
  for (const text of texts) assert.equal(isAuthority(text), pattern.test(text), JSON.stringify(text));
});

describe('a field section that comes again', () => {
  interface Answer {
    readonly heads: ResponseHead[];
    body: string;
    readonly reusable: boolean;
    readonly keepAliveMs: number | undefined;
  }

  function parse(text: string, size = text.length, method = 'GET'): Answer {
    const heads: ResponseHead[] = [];
    let body = '';
    const parser = new ResponseParser(
      { method },
      {
        onHead: (head) => heads.push(head),
        onBody: (chunk) => (body += chunk.toString('latin1')),
        onEnd: () => undefined,
      },
    );
    // What stands around the piece must not matter.
    for (let at = 0; at < text.length; at += size) {
      const piece = text.slice(at, at + size);
      const used = parser.execute(Buffer.from(`${piece}\r\n\r\n`, 'latin1'), piece.length);
      assert.equal(used, piece.length);
    }
    return { heads, body, reusable: parser.reusable, keepAliveMs: parser.keepAliveMs };
  }

  const section =
    'Date: now\r\nContent-Length: 4\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=7\r\n\r\n';

  it('means the same each time, in whatever pieces it comes', () => {
    const first = parse(`HTTP/1.1 200 OK\r\n${section}body`);
    assert.deepEqual(first.heads, [
      {
        status: 200,
        fields: [
          ['date', 'now'],
          ['content-length', '4'],
        ],
      },
    ]);
    assert.deepEqual([first.body, first.reusable, first.keepAliveMs], ['body', true, 7_000]);
    for (const size of [1, 3, 17, 20, 40, 1_000, 1_000]) {
      assert.deepEqual(parse(`HTTP/1.1 200 OK\r\n${section}body`, size), first);
    }
  });

  it('comes as the same list', () => {
    const lists = [1, 2].map(() => parse(`HTTP/1.1 200 OK\r\n${section}body`).heads[0]?.fields);
    assert.equal(lists[0], lists[1]);
  });

  it('is judged with the status line and the request it belongs to', () => {
    parse(`HTTP/1.1 200 OK\r\n${section}body`);
    assert.equal(parse(`HTTP/1.1 200 OK\r\n${section}`, undefined, 'HEAD').reusable, true);
    assert.equal(parse(`HTTP/1.1 304 Not Modified\r\n${section}`).reusable, true);
    assert.equal(parse(`HTTP/1.1 404 Not Found\r\n${section}gone`).heads[0]?.status, 404);
    // An HTTP/1.0 service closes, and knows no chunks.
    assert.equal(parse(`HTTP/1.0 200 OK\r\n${section}body`).reusable, false);
    assert.throws(() => parse(`HTTP/1.1 204 No Content\r\n${section}`), { code: 'SERVICE_PROTOCOL' });
    assert.throws(() => parse(`HTTP/1.1 103 Early Hints\r\n${section}`), { code: 'SERVICE_PROTOCOL' });
    const chunked = 'transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n';
    for (let i = 0; i < 2; i++) assert.equal(parse(`HTTP/1.1 200 OK\r\n${chunked}`).body, 'body');
    assert.throws(() => parse(`HTTP/1.0 200 OK\r\n${chunked}`), { code: 'SERVICE_PROTOCOL' });
  });

  it('is refused each time when it is wrong', () => {
    for (const wrong of [
      'content-length: 1\r\ncontent-length: 1\r\n\r\n',
      'a: b\nc: d\r\n\r\n',
      'a: b\r\n c\r\n\r\n',
      ' \r\n\r\n',
    ]) {
      for (let i = 0; i < 3; i++) {
        assert.throws(() => parse(`HTTP/1.1 200 OK\r\n${wrong}`), { code: 'SERVICE_PROTOCOL' });
      }
    }
  });

  it('may be empty', () => {
    for (let i = 0; i < 3; i++) {
      const { heads, body, reusable } = parse('HTTP/1.1 200 OK\r\n\r\nuntil the end');
      assert.deepEqual([heads, body, reusable], [[{ status: 200, fields: [] }], 'until the end', false]);
    }
  });

  it('is read under other bounds as if it were new', () => {
    parse(`HTTP/1.1 200 OK\r\n${section}body`);
    const events = { onHead: () => undefined, onBody: () => undefined, onEnd: () => undefined };
    const parser = new ResponseParser({ method: 'GET' }, events, { maxFields: 2 });
    assert.throws(() => parser.execute(Buffer.from(`HTTP/1.1 200 OK\r\n${section}`)), { code: 'SERVICE_PROTOCOL' });
  });
});
