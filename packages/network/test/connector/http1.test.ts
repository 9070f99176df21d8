import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ServerResponse } from 'node:http';
import { suite, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type RequestHead } from '@moat/core';
import { rawServer } from '../peer.ts';
import { Connector, bodyOf, httpServer, rude } from './http1-service.ts';

suite('connector http/1.1: what the service sees', () => {
  test('a request of our own making', async () => {
    const { promise: seen, resolve } = Promise.withResolvers<string>();
    await using server = await rawServer((socket) => {
      socket.once('data', (bytes: Buffer) => {
        resolve(bytes.toString('latin1'));
        socket.end('HTTP/1.1 204 No Content\r\n\r\n');
      });
    });
    using connector = new Connector(server);
    await connector.ask({
      target: '/a%20b?c=d',
      authority: 'shop.example:8443',
      fields: [
        ['host', 'evil.example'],
        ['connection', 'x-hop, keep-alive'],
        ['keep-alive', 'timeout=5'],
        ['te', 'trailers'],
        ['upgrade', 'h2c'],
        ['http2-settings', 'x'],
        ['proxy-authorization', 'secret'],
        ['proxy-connection', 'keep-alive'],
        ['expect', '100-continue'],
        ['cookie', 'a=1'],
        ['X-Kept', 'caf\xe9'],
        ['cookie', 'b=2'],
      ],
    });
    assert.equal(
      await seen,
      'GET /a%20b?c=d HTTP/1.1\r\nhost: shop.example:8443\r\nx-kept: caf\xe9\r\ncookie: a=1; b=2\r\n\r\n',
    );
  });

  test('a body of known length', async () => {
    await using server = await httpServer((request, response) => {
      void bodyOf(request).then((body) => response.end(JSON.stringify([request.headers, body])));
    });
    using connector = new Connector(server);
    const peer = await connector.ask({ method: 'PUT', fields: [['content-length', '5']] }, 'hello');
    const [headers, body] = JSON.parse(peer.body) as [Record<string, string>, string];
    assert.equal(headers['content-length'], '5');
    assert.equal(headers['transfer-encoding'], undefined);
    assert.equal(body, 'hello');
  });

  test('a body of unknown length, in chunks of our own, and its trailers', async () => {
    await using server = await httpServer((request, response) => {
      void bodyOf(request).then((body) => response.end(JSON.stringify([request.headers, body, request.trailers])));
    });
    using connector = new Connector(server);
    const peer = connector.open({ method: 'POST', bodyless: false });
    peer.stream.write(Buffer.from('hel'));
    peer.stream.write(Buffer.alloc(0));
    peer.stream.write(Buffer.from('lo'));
    peer.stream.end([
      ['x-sum', '7'],
      ['host', 'evil'],
    ]);
    await peer.end();
    const [headers, body, trailers] = JSON.parse(peer.body) as [Record<string, string>, string, unknown];
    assert.equal(headers['transfer-encoding'], 'chunked');
    assert.equal(headers['content-length'], undefined);
    assert.equal(body, 'hello');
    assert.deepEqual(trailers, { 'x-sum': '7' });
  });

  test('a POST without body says so', async () => {
    await using server = await httpServer((request, response) => response.end(request.headers['content-length']));
    using connector = new Connector(server);
    assert.equal((await connector.ask({ method: 'POST' })).body, '0');
  });

  const invalid: Record<string, Partial<RequestHead>> = {
    'a method with a space': { method: 'GET /' },
    'a method with CRLF': { method: 'GET\r\nX: y' },
    CONNECT: { method: 'CONNECT', target: 'a:1' },
    'a target with a space': { target: '/a HTTP/1.1' },
    'a target with CRLF': { target: '/a\r\nX: y' },
    'a target with a NUL': { target: '/\0' },
    'an absolute target': { target: 'http://other/' },
    'an empty target': { target: '' },
    'a target with a fragment': { target: '/a#b' },
    '* with GET': { target: '*' },
    'an authority with CRLF': { authority: 'a\r\nX: y' },
    'an authority with a path': { authority: 'a/b' },
    'an authority with a user': { authority: 'user@a' },
    'an empty authority': { authority: '' },
    'a name with CRLF': { fields: [['a\r\nb', 'c']] },
    'a name with a colon': { fields: [['a:b', 'c']] },
    'an empty name': { fields: [['', 'c']] },
    'a value with CRLF': { fields: [['a', 'b\r\nc: d']] },
    'a value with a bare LF': { fields: [['a', 'b\nc']] },
    'a value with a NUL': { fields: [['a', 'b\0']] },
    'a value beyond latin1': { fields: [['a', '\u010d\u010a']] },
    'a length with a sign': { bodyless: false, fields: [['content-length', '+5']] },
    'two lengths': {
      bodyless: false,
      fields: [
        ['content-length', '5'],
        ['content-length', '5'],
      ],
    },
    'a length without body': { fields: [['content-length', '5']] },
    'transfer-encoding': { bodyless: false, fields: [['transfer-encoding', 'chunked']] },
    'an upgrade to h2c': { upgrade: 'h2c' },
    'an upgrade with CRLF': { upgrade: 'websocket\r\nX: y' },
  };
  for (const [name, head] of Object.entries(invalid)) {
    test(`never ${name}`, async () => {
      await using server = await rude('HTTP/1.1 204 No Content\r\n\r\n');
      using connector = new Connector(server);
      const peer = connector.open(head);
      assert.equal(await peer.close(), 'REQUEST_INVALID');
      while (connector.pool.size > 0) await nextTurn();
    });
  }

  test('never a body that was not announced', async () => {
    await using server = await rawServer(() => undefined);
    using connector = new Connector(server);
    const peer = connector.open();
    peer.stream.write(Buffer.from('GET /smuggled HTTP/1.1\r\n\r\n'));
    assert.equal(await peer.close(), 'REQUEST_INVALID');
  });

  test('bodies of any size whole and in order', async () => {
    let packets: string[] = [];
    await using server = await rawServer((socket) => {
      socket.on('data', (bytes: Buffer) => {
        packets.push(bytes.toString('latin1'));
        if (packets.join('').endsWith('0\r\n\r\n')) socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      });
    });
    using connector = new Connector(server);
    await connector.ask({ method: 'POST' }, 'warm');
    for (const size of [5, 15_000, 17_000, 200_000]) {
      packets = [];
      await connector.ask({ method: 'POST', bodyless: false }, 'x'.repeat(size));
      const head = 'POST / HTTP/1.1\r\nhost: shop.example\r\ntransfer-encoding: chunked\r\n\r\n';
      const sent = `${head}${size.toString(16)}\r\n${'x'.repeat(size)}\r\n0\r\n\r\n`;
      assert.equal(packets.join(''), sent, `${size} bytes`);
    }
    assert.equal(server.connections, 1);
  });

  test('never more or fewer bytes than announced', async () => {
    await using server = await httpServer((request) => void bodyOf(request).catch(() => undefined));
    using connector = new Connector(server);
    for (const body of ['hello!', 'hell']) {
      const peer = connector.open({ method: 'POST', bodyless: false, fields: [['content-length', '5']] });
      peer.stream.write(Buffer.from(body));
      peer.stream.end();
      assert.equal(await peer.close(), 'REQUEST_INVALID');
    }
  });
});

suite('connector http/1.1: what the peer sees', () => {
  test('status, fields, body and a clean end', async () => {
    await using server = await httpServer((_, response) => {
      response.writeHead(
        201,
        [
          ['X-A', '1'],
          ['x-a', '2'],
        ].flat(),
      );
      response.end('hello');
    });
    using connector = new Connector(server);
    const peer = await connector.ask();
    assert.equal(peer.answer?.status, 201);
    assert.deepEqual(
      peer.answer.fields.filter(([name]) => name === 'x-a'),
      [
        ['x-a', '1'],
        ['x-a', '2'],
      ],
    );
    assert.equal(
      peer.answer.fields.some(([name]) => name === 'connection' || name === 'keep-alive'),
      false,
    );
    assert.equal(peer.body, 'hello');
    assert.deepEqual(peer.closed, { code: undefined });
  });

  test('trailers and early hints', async () => {
    await using server = await httpServer((_, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      response.writeHead(200, { trailer: 'grpc-status' });
      response.write('x');
      response.addTrailers({ 'grpc-status': '0' });
      response.end();
    });
    using connector = new Connector(server);
    const peer = await connector.ask();
    assert.deepEqual(
      peer.heads.map((head) => 'status' in head && head.status),
      [103, 200],
    );
    assert.deepEqual(peer.trailers, [['grpc-status', '0']]);
  });

  test('HEAD, 204 and 304 have no body and keep the connection', async () => {
    await using server = await httpServer((request, response) => {
      response.writeHead(Number(request.url?.slice(1)), request.method === 'HEAD' ? { 'content-length': 500 } : {});
      response.end();
    });
    using connector = new Connector(server);
    const head = await connector.ask({ method: 'HEAD', target: '/200' });
    assert.deepEqual(
      head.answer?.fields.find(([name]) => name === 'content-length'),
      ['content-length', '500'],
    );
    for (const target of ['/204', '/304']) {
      const peer = await connector.ask({ target });
      assert.equal(peer.answer?.status, Number(target.slice(1)));
      assert.equal(peer.body, '');
    }
    assert.equal(connector.pool.size, 1);
  });

  test('a body that ends with the connection', async () => {
    await using server = await rude('HTTP/1.0 200 OK\r\n\r\nhello');
    using connector = new Connector(server);
    const peer = await connector.ask();
    assert.equal(peer.body, 'hello');
    assert.deepEqual(peer.closed, { code: undefined });
    while (connector.pool.size > 0) await nextTurn();
  });

  test('server-sent events one by one', async () => {
    let events: ServerResponse | undefined;
    await using server = await httpServer((_, response) => {
      events = response;
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    });
    using connector = new Connector(server);
    const peer = connector.open();
    peer.stream.end();
    await peer.until(() => peer.answer !== undefined);
    for (const id of ['1', '2']) {
      events?.write(`data: ${id}\n\n`);
      await peer.until(() => peer.body.endsWith(`data: ${id}\n\n`));
    }
    peer.stream.reset('CLIENT_RESET');
    await peer.done;
    if (events && !events.closed) await once(events, 'close');
  });

  const failing: Record<string, [answer: string, code: string]> = {
    nonsense: ['SSH-2.0-OpenSSH\r\n', 'SERVICE_PROTOCOL'],
    'both lengths': ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n', 'SERVICE_PROTOCOL'],
    'an uninvited 101': ['HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n', 'SERVICE_PROTOCOL'],
    nothing: ['', 'SERVICE_RESET'],
    'half a body': ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel', 'SERVICE_RESET'],
    'half a chunk': ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe', 'SERVICE_RESET'],
    'a bad chunk in the middle': [
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n',
      'SERVICE_PROTOCOL',
    ],
  };
  for (const [name, [answer, code]] of Object.entries(failing)) {
    test(`${code} for ${name}`, async () => {
      await using server = await rude(answer);
      using connector = new Connector(server);
      const peer = connector.open();
      peer.stream.end();
      assert.equal(await peer.close(), code);
      await peer.done;
    });
  }

  test('SERVICE_UNREACHABLE where nobody listens', async () => {
    const server = await rude('');
    await server[Symbol.asyncDispose]();
    using connector = new Connector(server);
    const peer = connector.open();
    assert.equal(await peer.close(), 'SERVICE_UNREACHABLE');
    await peer.done;
    while (connector.pool.size > 0) await nextTurn();
  });

  test('SERVICE_TIMEOUT where no answer comes', async () => {
    await using server = await rawServer(() => undefined);
    using connector = new Connector(server);
    const peer = connector.open({}, { answerTimeoutMs: 20 });
    peer.stream.end();
    assert.equal(await peer.close(), 'SERVICE_TIMEOUT');
  });

  test('SERVICE_BUSY beyond the limit of connections', async () => {
    await using server = await rawServer(() => undefined);
    using connector = new Connector(server, { maxConnections: 1 });
    const first = connector.open();
    assert.equal(await connector.open().close(), 'SERVICE_BUSY');
    first.stream.reset('CLIENT_RESET');
    await first.done;
  });
});
