import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isMoatError, type FieldList, type ResponseHead } from '@moat/core';
import fc from 'fast-check';
import { ResponseParser } from '../../src/connector/http1-parser.ts';
import { ACCEPTED, CHUNKED, CUT, GET, OK, REFUSED, type Read, type ReadOptions } from './http1-parser-cases.ts';

/** Reads `text` (latin1) in pieces of `step` bytes; `finish` also ends the connection. */
function read(text: string, { asked = GET, step = Infinity, finish = false, limits }: ReadOptions = {}): Read {
  const heads: ResponseHead[] = [];
  const result = { heads, body: '', trailers: undefined as FieldList | undefined, used: 0 };
  const parser = new ResponseParser(
    asked,
    {
      onHead: (head) => heads.push(head),
      onBody: (chunk) => (result.body += chunk.toString('latin1')),
      onEnd: (trailers) => (result.trailers = trailers),
    },
    limits,
  );
  const bytes = Buffer.from(text, 'latin1');
  for (let at = 0; at < bytes.length; at += step) {
    const piece = bytes.subarray(at, Math.min(bytes.length, at + step));
    const used = parser.execute(piece);
    result.used += used;
    if (used < piece.length) break;
  }
  if (finish) parser.finish();
  return Object.assign(result, { parser });
}

suite('response parser: refused', () => {
  for (const [name, text] of Object.entries(REFUSED)) {
    test(name, () => {
      for (const step of [Infinity, 1, 7]) {
        assert.throws(
          () => read(text, { step }),
          (error: unknown) => isMoatError(error, 'SERVICE_PROTOCOL'),
          `in steps of ${step}`,
        );
      }
    });
  }

  test('a 101 to another protocol than asked, without Connection, twice named, or in HTTP/1.0', () => {
    const asked = { method: 'GET', upgrade: 'websocket' };
    for (const text of [
      'HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n',
      'HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n',
      'HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n',
      'HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n',
      'HTTP/1.0 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    ]) {
      assert.throws(
        () => read(text, { asked }),
        (error: unknown) => isMoatError(error, 'SERVICE_PROTOCOL'),
        text,
      );
    }
  });
});

suite('response parser: cut off', () => {
  for (const [name, text] of Object.entries(CUT)) {
    test(name, () => {
      assert.throws(
        () => read(text, { finish: true }),
        (error: unknown) => isMoatError(error, 'SERVICE_RESET'),
      );
    });
  }
});

suite('response parser: accepted', () => {
  for (const [name, [text, expected, options]] of Object.entries(ACCEPTED)) {
    test(name, () => {
      for (const step of [Infinity, 1, 3]) {
        const result = read(text, { ...options, step });
        const head = result.heads.at(-1);
        assert.equal(head?.status, expected.status);
        assert.equal(result.body, expected.body);
        if (expected.fields) assert.deepEqual(head.fields, expected.fields);
        assert.deepEqual(result.trailers, expected.trailers ?? []);
        assert.equal(result.parser.complete, true);
        assert.equal(result.parser.reusable, expected.reusable);
      }
    });
  }

  test('long values, names and heads come whole, wherever they are cut', () => {
    const fields = Array.from({ length: 30 }, (_, i): [string, string] => [
      `X-${'n'.repeat(i * 8)}`,
      `${i}`.repeat(i * 7),
    ]);
    const head = `${OK}${fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')}Content-Length: 0\r\n\r\n`;
    const expected = [...fields.map(([name, value]) => [name.toLowerCase(), value]), ['content-length', '0']];
    for (const step of [Infinity, 1, 13, 1_024, 1_025]) {
      assert.deepEqual(
        read(`HTTP/1.1 103 E\r\nLink: a\r\n\r\n${head}`, { step }).heads[1]?.fields,
        expected,
        `steps of ${step}`,
      );
    }
  });

  test('trailers are read from the piece they came in', () => {
    const parser = new ResponseParser(GET, {
      onHead: () => undefined,
      onBody: () => undefined,
      onEnd: (got) => (trailers = got),
    });
    let trailers: FieldList = [];
    parser.execute(Buffer.from(`${CHUNKED}5\r\nhello\r\n`));
    const last = Buffer.from('0\r\nX-First: one\r\nx-second: two\r\n\r\n');
    // A read buffer is used again, and longer than what was read into it.
    const shared = Buffer.alloc(256, 'HTTP/1.1 200 OK\r\n\r\n');
    last.copy(shared);
    assert.equal(parser.execute(shared, last.length), last.length);
    shared.fill(0);
    assert.deepEqual(trailers, [
      ['x-first', 'one'],
      ['x-second', 'two'],
    ]);
  });

  test('what lies behind the end of a piece is not looked at', () => {
    for (const [text] of Object.values(ACCEPTED)) {
      for (let cut = 1; cut < text.length; cut++) {
        const heads: ResponseHead[] = [];
        const parser = new ResponseParser(GET, {
          onHead: (head) => heads.push(head),
          onBody: () => undefined,
          onEnd: () => undefined,
        });
        const rest = Buffer.alloc(512, '\r\n\r\n0\r\n\r\n');
        rest.write(text.slice(0, cut), 'latin1');
        parser.execute(rest, cut);
        rest.write(text.slice(cut), 'latin1');
        parser.execute(rest, text.length - cut);
        assert.deepEqual(heads.at(-1), read(text).heads.at(-1), `${JSON.stringify(text)} cut at ${cut}`);
      }
    }
  });

  test('1xx come as heads, 100 does not', () => {
    const interim = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
    const { heads } = read(`${interim}${OK}Content-Length: 0\r\n\r\n`, { step: 5 });
    assert.deepEqual(heads, [
      { status: 103, fields: [['link', '</a>']] },
      { status: 200, fields: [['content-length', '0']] },
    ]);
  });

  test('after 101 the bytes are not ours', () => {
    const head = 'HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n';
    const result = read(`${head}\x81\x02hi`, { asked: { method: 'GET', upgrade: 'websocket' } });
    assert.equal(result.used, head.length);
    assert.equal(result.parser.upgraded, true);
    assert.deepEqual(result.heads, [
      {
        status: 101,
        fields: [
          ['sec-websocket-accept', 'x'],
          ['upgrade', 'websocket'],
        ],
      },
    ]);
  });

  test('bytes after the end are left to the caller', () => {
    const answer = `${OK}Content-Length: 2\r\n\r\nhi`;
    assert.equal(read(`${answer}HTTP/1.1 200 OK\r\n\r\n`).used, answer.length);
  });

  test('says how long an idle connection is kept', () => {
    const { parser } = read(`${OK}Keep-Alive: max=10, timeout=7\r\nContent-Length: 0\r\n\r\n`);
    assert.equal(parser.keepAliveMs, 7_000);
  });
});

suite('response parser: any bytes', () => {
  const fragment = fc.constantFrom(
    'HTTP/1.1 ',
    'HTTP/1.0 ',
    '200 OK',
    '204',
    '101 S',
    '103 E',
    '\r\n',
    '\n',
    '\r',
    ' ',
    '\t',
    'Content-Length: ',
    '5',
    'Transfer-Encoding: chunked',
    'Connection: close',
    ': ',
    'A',
    '0\r\n\r\n',
    '5\r\nhello\r\n',
    'ff',
    ';x',
    'hello',
    '\0',
  );

  test('property: noise ends in a coded error or an answer, the same in every split', () => {
    const noise = fc.oneof(
      fc.array(fragment, { maxLength: 24 }).map((parts) => parts.join('')),
      fc.array(fragment, { maxLength: 16 }).map((parts) => `${OK}${parts.join('')}`),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
      fc.uint8Array({ maxLength: 100 }).map((bytes) => `${CHUNKED}${Buffer.from(bytes).toString('latin1')}`),
    );
    const outcome = (text: string, step: number): unknown => {
      try {
        const { heads, body, trailers, used, parser } = read(text, { step, finish: true });
        return { heads, body, trailers, used, reusable: parser.reusable };
      } catch (error) {
        assert.ok(isMoatError(error, 'SERVICE_PROTOCOL') || isMoatError(error, 'SERVICE_RESET'), String(error));
        return error.code;
      }
    };
    fc.assert(
      fc.property(noise, fc.integer({ min: 1, max: 9 }), (text, step) => {
        assert.deepEqual(outcome(text, step), outcome(text, Infinity));
      }),
      { numRuns: 2_000 },
    );
  });

  test('property: chunks of any sizes come out whole, in any split', () => {
    const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 10 });
    fc.assert(
      fc.property(chunks, fc.integer({ min: 1, max: 50 }), (parts, step) => {
        const texts = parts.map((part) => Buffer.from(part).toString('latin1'));
        const wire = texts.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join('');
        const result = read(`${CHUNKED}${wire}0\r\n\r\n`, { step });
        assert.equal(result.body, texts.join(''));
        assert.equal(result.parser.reusable, true);
      }),
    );
  });

  test('a head of single bytes is read in linear time', () => {
    const fields = `A: ${'b'.repeat(95)}\r\n`.repeat(190);
    const started = process.cpuUsage().user;
    for (let i = 0; i < 20; i++) read(`${OK}${fields}Content-Length: 0\r\n\r\n`, { step: 1 });
    assert.ok(process.cpuUsage().user - started < 10_000_000);
  });
});
