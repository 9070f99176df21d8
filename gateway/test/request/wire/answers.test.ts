/** The other direction: what stands on the wire for each kind of answer, and for each kind of client. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, suite, test } from 'node:test';
import type { FieldList, LinkStream } from '@moat/core';
import { EdgeUnderTest, HOST, readAll } from '../../edge-under-test.ts';
import { member } from '../../member.ts';
import { readAnswers, type WireAnswer } from './read-answers.ts';
import { H, head } from './case.ts';

let edge: EdgeUnderTest;
/** What the member does with each request, at once. */
let answer: (stream: LinkStream, target: string) => void;
const targets: string[] = [];

before(async () => {
  edge = await EdgeUnderTest.start();
  edge.publish({
    m1: member((stream) => {
      const { target = '' } = stream.requestHead ?? {};
      targets.push(target);
      answer(stream, target);
      return {};
    }),
  });
});
after(() => edge[Symbol.asyncDispose]());
beforeEach(() => {
  targets.splice(0);
  answer = (stream, target) => say(stream, 200, [['content-length', String(target.length)]], target);
});

function say(stream: LinkStream, status: number, fields: FieldList, body: string = '', trailers: FieldList = []): void {
  stream.writeHead({ status, fields });
  if (body !== '') stream.write(Buffer.from(body, 'latin1'));
  stream.end(trailers);
}

const get = (target: string, ...lines: readonly string[]): string => head(`GET ${target} HTTP/1.1`, ...lines);
const LAST = get('/last', 'Connection: close');

/** Sends `requests` and a last one that closes; the answers to the former. */
async function ask(requests: string, methods: readonly string[] = ['GET']): Promise<readonly WireAnswer[]> {
  const answers = readAnswers(await edge.raw(requests + LAST), methods);
  const last = answers.at(-1);
  assert.ok(last?.fields.get('connection')?.toLowerCase() === 'close', 'the last answer closes');
  return answers.slice(0, -1);
}

async function askOne(request: string, method: string = 'GET'): Promise<WireAnswer> {
  const [one, ...more] = await ask(request, [method]);
  assert.ok(one && more.length === 0);
  return one;
}

suite('framing', () => {
  test('a length is passed on, nothing is added to it', async () => {
    const one = await askOne(get('/abc'));
    assert.deepEqual([one.version, one.status, one.framing, one.body, one.whole], ['1.1', 200, 'length', '/abc', true]);
    assert.equal(one.fields.has('transfer-encoding'), false);
  });

  test('a length of none', async () => {
    answer = (stream) => say(stream, 200, [['content-length', '0']]);
    const one = await askOne(get('/'));
    assert.deepEqual([one.framing, one.body], ['length', '']);
  });

  test('no length: chunks, and the connection goes on', async () => {
    answer = (stream) => {
      stream.writeHead({ status: 200, fields: [] });
      for (const part of ['one', 'two\r\n0\r\n\r\n', 'x'.repeat(70_000)]) stream.write(Buffer.from(part));
      stream.end();
    };
    const one = await askOne(get('/'));
    assert.deepEqual([one.framing, one.whole, one.fields.has('content-length')], ['chunked', true, false]);
    assert.equal(one.body, `onetwo\r\n0\r\n\r\n${'x'.repeat(70_000)}`);
  });

  test('no length and no body', async () => {
    answer = (stream) => say(stream, 200, []);
    const one = await askOne(get('/'));
    assert.deepEqual([one.body, one.whole], ['', true]);
  });

  test('trailers behind chunks, those that may be', async () => {
    answer = (stream) =>
      say(stream, 200, [['trailer', 'x-sum']], 'abc', [
        ['x-sum', '1'],
        ['content-length', '7'],
        ['set-cookie', 'a=b'],
        ['transfer-encoding', 'chunked'],
      ]);
    const one = await askOne(get('/'));
    assert.deepEqual([one.framing, one.body, one.trailers], ['chunked', 'abc', ['x-sum: 1']]);
  });

  for (const status of [204, 304]) {
    test(`${status} has neither body nor chunks`, async () => {
      answer = (stream) => say(stream, status, [['etag', '"a"']]);
      const [one, two] = await ask(get('/1') + get('/2'));
      for (const each of [one, two]) {
        assert.deepEqual([each?.status, each?.framing, each?.fields.get('etag')], [status, 'none', '"a"']);
        assert.equal(each?.fields.has('transfer-encoding'), false);
      }
    });
  }

  test('204 loses a length, 304 keeps it', async () => {
    answer = (stream, target) => say(stream, target === '/304' ? 304 : 204, [['content-length', '5']]);
    const [no, same] = await ask(get('/204') + get('/304'));
    assert.deepEqual([no?.fields.get('content-length'), same?.fields.get('content-length')], [undefined, '5']);
  });

  test('HEAD: the fields of GET and no body', async () => {
    answer = (stream, target) => say(stream, 200, [['content-length', target === '/last' ? '0' : '1000']]);
    const [first, second] = await ask(head('HEAD /1 HTTP/1.1') + head('HEAD /2 HTTP/1.1'), ['HEAD', 'HEAD']);
    assert.deepEqual([first?.fields.get('content-length'), second?.status], ['1000', 200]);
  });

  test('HEAD without a length: no chunk either', async () => {
    answer = (stream) => say(stream, 200, []);
    const [first, second] = await ask(head('HEAD /1 HTTP/1.1') + head('HEAD /2 HTTP/1.1'), ['HEAD', 'HEAD']);
    assert.deepEqual([first?.status, second?.status], [200, 200]);
  });

  test('HEAD and GET by turns stay in step', async () => {
    const methods = ['HEAD', 'GET', 'HEAD', 'GET', 'GET'];
    answer = (stream, target) => {
      const isHead = stream.requestHead?.method === 'HEAD';
      say(stream, 200, [['content-length', String(target.length)]], isHead ? '' : target);
    };
    const answers = await ask(methods.map((method, i) => head(`${method} /${i} HTTP/1.1`)).join(''), methods);
    assert.deepEqual(
      answers.map(({ body }) => body),
      ['', '/1', '', '/3', '/4'],
    );
  });

  test("the gateway's own refusal of HEAD has no body", async () => {
    const text = await edge.raw(`HEAD / HTTP/1.1\r\nHost: held.localhost\r\n\r\n`);
    const [one, ...more] = readAnswers(text, ['HEAD']);
    assert.deepEqual([one?.status, more.length], [421, 0]);
  });

  test('every answer says when it was made', async () => {
    const refusal = readAnswers(await edge.raw('GET / HTTP/1.1\r\n\r\n'));
    for (const one of [await askOne(get('/')), ...refusal]) {
      assert.match(one.fields.get('date') ?? '', /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/, String(one.status));
    }
  });

  test('a date of the service is kept', async () => {
    const date = 'Sun, 06 Nov 1994 08:49:37 GMT';
    answer = (stream) =>
      say(stream, 200, [
        ['date', date],
        ['content-length', '0'],
      ]);
    assert.equal((await askOne(get('/'))).fields.get('date'), date);
  });

  test('a refusal has a length, a type, and closes', async () => {
    const text = await edge.raw('GET / HTTP/1.1\r\n\r\n');
    const [one] = readAnswers(text);
    assert.deepEqual([one?.status, one?.framing, one?.whole], [400, 'length', true]);
    assert.match(one?.fields.get('content-type') ?? '', /^text\/html/);
    assert.equal(one?.fields.get('connection')?.toLowerCase(), 'close');
  });
});

suite('interim answers', () => {
  test('103 and 102 come before the answer, 100 of a service does not', async () => {
    answer = (stream, target) => {
      for (const status of [100, 102, 103])
        stream.writeHead({ status, fields: status === 103 ? [['link', '</a>']] : [] });
      say(stream, 200, [['content-length', String(target.length)]], target);
    };
    const one = await askOne(get('/'));
    assert.deepEqual([one.interim, one.body], [[102, 103], '/']);
  });

  test('100 is said once, when the body is wanted', async () => {
    const socket = await edge.connect();
    const all = readAll(socket);
    answer = (stream) =>
      stream.listen({
        onHead: () => undefined,
        onData: () => undefined,
        onEnd: () => say(stream, 200, [['content-length', '0']]),
        onDrain: () => undefined,
        onClose: () => undefined,
      });
    socket.write(head('POST / HTTP/1.1', 'Content-Length: 3', 'Expect: 100-continue', 'Connection: close'));
    await new Promise((resolve) => socket.once('data', resolve));
    socket.write('abc');
    const [one] = readAnswers(await all);
    assert.deepEqual([one?.interim, one?.status], [[100], 200]);
  });

  test('a client that expects and is refused is not asked for its body', async () => {
    const [one] = readAnswers(
      await edge.raw('POST / HTTP/1.1\r\nHost: held.localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n'),
    );
    assert.deepEqual([one?.interim, one?.status, one?.fields.get('connection')?.toLowerCase()], [[], 421, 'close']);
  });

  test('a client of HTTP/1.0 gets none', async () => {
    answer = (stream) => {
      stream.writeHead({ status: 103, fields: [['link', '</a>']] });
      say(stream, 200, [['content-length', '0']]);
    };
    const [one] = readAnswers(await edge.raw(head('GET / HTTP/1.0')));
    assert.deepEqual([one?.interim, one?.status], [[], 200]);
  });

  test('101 that nobody asked for is 502', async () => {
    answer = (stream) => stream.writeHead({ status: 101, fields: [['upgrade', 'x']] });
    const [one] = readAnswers(await edge.raw(get('/')));
    assert.equal(one?.status, 502);
  });
});

suite('clients of HTTP/1.0', () => {
  test('a length, and the connection closes', async () => {
    const [one] = readAnswers(await edge.raw(head('GET /abc HTTP/1.0')));
    assert.deepEqual([one?.framing, one?.body, one?.fields.has('transfer-encoding')], ['length', '/abc', false]);
  });

  test('no chunks: the end of the connection ends the body', async () => {
    answer = (stream) => say(stream, 200, [], 'x'.repeat(100_000));
    const [one] = readAnswers(await edge.raw(head('GET / HTTP/1.0', 'Connection: keep-alive')));
    assert.deepEqual([one?.framing, one?.body.length, one?.fields.has('transfer-encoding')], ['close', 100_000, false]);
    assert.notEqual(one?.fields.get('connection')?.toLowerCase(), 'keep-alive');
  });

  test('no chunks, no trailers', async () => {
    answer = (stream) => say(stream, 200, [['trailer', 'x-sum']], 'abc', [['x-sum', '1']]);
    const [one] = readAnswers(await edge.raw(head('GET / HTTP/1.0')));
    assert.deepEqual([one?.body, one?.fields.has('trailer')], ['abc', false]);
  });
});

suite('connections', () => {
  test('close is said and done', async () => {
    const [one, ...more] = readAnswers(await edge.raw(get('/1', 'Connection: close') + get('/2')));
    assert.deepEqual([one?.body, one?.fields.get('connection')?.toLowerCase(), more.length], ['/1', 'close', 0]);
    assert.deepEqual(targets, ['/1']);
  });

  test('close of a service is its own affair', async () => {
    answer = (stream) =>
      say(stream, 200, [
        ['connection', 'close, x-hop'],
        ['x-hop', '1'],
        ['keep-alive', 'timeout=5'],
        ['content-length', '0'],
      ]);
    const [one, two] = await ask(get('/1') + get('/2'));
    for (const each of [one, two]) {
      assert.notEqual(each?.fields.get('connection')?.toLowerCase(), 'close');
      assert.deepEqual([each?.fields.has('x-hop'), each?.fields.has('keep-alive')], [false, false]);
    }
  });

  test('answers come in the order of the requests, whoever is ready first', async () => {
    const late: (() => void)[] = [];
    answer = (stream, target) => {
      const now = (): void => say(stream, 200, [['content-length', String(target.length)]], target);
      if (target === '/slow') late.push(now);
      else now();
      // The last one lets the slow ones go, should it come before them.
      if (target === '/slow') setImmediate(() => late.shift()?.());
    };
    const order = ['/slow', '/1', '/slow', '/2', '/3'];
    const answers = await ask(order.map((target) => get(target)).join(''));
    assert.deepEqual(
      answers.map(({ body }) => body),
      order,
    );
  });

  test('an answer before the end of the body ends the connection: the rest of the body is no request', async () => {
    answer = (stream, target) => say(stream, 413, [['content-length', String(target.length)]], target);
    const send = `${head('POST /early HTTP/1.1', 'Content-Length: 100000')}${get('/smuggled')}`;
    const [one, ...more] = readAnswers(await edge.raw(send));
    assert.deepEqual([one?.status, more.length], [413, 0]);
    assert.deepEqual(targets, ['/early']);
  });

  test('an answer before the end of a chunked body ends the connection', async () => {
    answer = (stream, target) => say(stream, 200, [['content-length', String(target.length)]], target);
    const send = `${head('POST /early HTTP/1.1', 'Transfer-Encoding: chunked')}5\r\nhello\r\n`;
    const [one, ...more] = readAnswers(await edge.raw(send));
    assert.deepEqual([one?.status, more.length], [200, 0]);
  });

  for (const [name, second, status] of [
    ['malformed', `GET / HTTP/1.1\r\n${H}X : y\r\n\r\n`, 400],
    ['for another host', 'GET / HTTP/1.1\r\nHost: held.localhost\r\n\r\n', 421],
    ['broken behind its head', `${head('POST / HTTP/1.1', 'Transfer-Encoding: chunked')}x\r\n`, 400],
  ] as const) {
    test(`a client that ends its direction gets the refusal of a second request ${name}`, async () => {
      const socket = await edge.connect();
      const all = readAll(socket);
      socket.end(get('/1') + second + get('/smuggled'));
      assert.deepEqual(
        readAnswers(await all).map((one) => one.status),
        [200, status],
      );
      assert.equal(targets.includes('/smuggled'), false);
    });
  }

  test('a client that ends its direction still gets its answers', async () => {
    const socket = await edge.connect();
    const all = readAll(socket);
    socket.end(get('/1') + get('/2'));
    assert.deepEqual(
      readAnswers(await all).map(({ body }) => body),
      ['/1', '/2'],
    );
  });
});

suite('what a service may not write', () => {
  const becomes502 = (name: string, status: number, fields: FieldList, body: string = ''): void => {
    test(name, async () => {
      answer = (stream) => say(stream, status, fields, body);
      const answers = readAnswers(await edge.raw(get('/') + get('/behind')));
      assert.equal(answers[0]?.status, 502);
    });
  };
  becomes502('a line end in a value', 200, [['x-a', 'b\r\nSet-Cookie: c=d']]);
  becomes502('a bare LF in a value', 200, [['x-a', 'b\nc: d']]);
  becomes502('a bare CR in a value', 200, [['x-a', 'b\rc: d']]);
  becomes502('NUL in a value', 200, [['x-a', 'b\0']]);
  becomes502('a character beyond Latin-1', 200, [['x-a', '\u010a']]);
  becomes502('a name with a colon', 200, [['x:a', 'b']]);
  becomes502('an empty name', 200, [['', 'b']]);
  becomes502('a name with a line end', 200, [['x\r\ny', 'b']]);
  becomes502(
    'two lengths',
    200,
    [
      ['content-length', '1'],
      ['content-length', '1'],
    ],
    'x',
  );
  becomes502('a length in words', 200, [['content-length', 'one']]);
  becomes502('a negative length', 200, [['content-length', '-1']]);
  becomes502('a list of lengths', 200, [['content-length', '1, 1']], 'x');
  becomes502('a status of two digits', 99, []);
  becomes502('a status of four digits', 1_000, []);
  becomes502('a status of a fraction', 200.5, []);

  test('a coding of its own hop goes', async () => {
    answer = (stream) =>
      say(
        stream,
        200,
        [
          ['transfer-encoding', 'chunked'],
          ['content-length', '3'],
        ],
        'abc',
      );
    const one = await askOne(get('/'));
    assert.deepEqual([one.framing, one.body], ['length', 'abc']);
  });

  test('more than it announced is cut', async () => {
    answer = (stream) => {
      stream.writeHead({ status: 200, fields: [['content-length', '3']] });
      stream.write(Buffer.from('ab'));
      stream.write(Buffer.from('cHTTP/1.1 200 OK\r\n\r\n'));
      stream.end();
    };
    const text = await edge.raw(get('/') + get('/behind'));
    const [one, ...more] = readAnswers(text);
    assert.deepEqual([one?.whole, more.length], [false, 0]);
  });

  test('less than it announced is cut', async () => {
    answer = (stream) => say(stream, 200, [['content-length', '5']], 'abc');
    const [one, ...more] = readAnswers(await edge.raw(get('/') + get('/behind')));
    assert.deepEqual([one?.whole, more.length], [false, 0]);
  });

  test('chunks that stop have no end', async () => {
    answer = (stream) => {
      stream.writeHead({ status: 200, fields: [] });
      stream.write(Buffer.from('abc'));
      setImmediate(() => stream.reset('SERVICE_RESET'));
    };
    const [one, ...more] = readAnswers(await edge.raw(get('/') + get('/behind')));
    assert.deepEqual([one?.framing, one?.whole, more.length], ['chunked', false, 0]);
  });

  for (const status of [204, 304]) {
    test(`a body with ${status} is cut`, async () => {
      answer = (stream) => say(stream, status, [], 'HTTP/1.1 200 OK\r\n\r\n');
      const text = await edge.raw(get('/') + get('/behind'));
      assert.ok(!text.includes('200 OK') && (text.match(/HTTP\/1\.1/g) ?? []).length <= 1, text);
    });
  }

  test('a body for HEAD is cut', async () => {
    answer = (stream) => say(stream, 200, [['content-length', '3']], 'abc');
    const text = await edge.raw(head('HEAD / HTTP/1.1') + get('/behind'));
    const [one, ...more] = readAnswers(text, ['HEAD']);
    assert.deepEqual([[200, undefined].includes(one?.status), more.length], [true, 0]);
  });
});

suite('the plain port', () => {
  const plain = async (bytes: string): Promise<readonly WireAnswer[]> => {
    const socket = await edge.connectPlain();
    const all = readAll(socket);
    socket.write(Buffer.from(bytes, 'latin1'));
    return readAnswers(await all);
  };

  test('leads to https', async () => {
    const [one] = await plain(`GET /a?b HTTP/1.1\r\n${H}Connection: close\r\n\r\n`);
    assert.equal(one?.status, 308);
    assert.match(one?.fields.get('location') ?? '', new RegExp(`^https://${HOST}(:\\d+)?/a\\?b$`));
  });

  for (const [name, bytes] of [
    ['a TLS handshake', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03'],
    ['both lengths', head('POST / HTTP/1.1', 'Content-Length: 3', 'Transfer-Encoding: chunked')],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
    ['bare LF', `GET / HTTP/1.1\n\n`],
  ] as const) {
    test(`refuses ${name}`, async () => {
      const [one, ...more] = await plain(bytes);
      assert.deepEqual([one?.status, more.length], [400, 0]);
    });
  }
});
