import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { suite, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { silentLogger, systemClock, type RequestHead } from '@moat/core';
import { checkLeaks } from '@moat/testkit';
import { serveHttp, type HttpOptions } from '../../src/connector/http1.ts';
import { ServicePool, type ServicePoolOptions } from '../../src/connector/service-pool.ts';
import { createStreamPair } from '../../src/stream-pair.ts';
import { Peer, rawServer, requestHead } from '../peer.ts';

interface Target {
  readonly host: string;
  readonly port: number;
}

class Connector implements Disposable {
  readonly pool: ServicePool;
  readonly #target: Target;

  constructor(target: Target, options: ServicePoolOptions = {}) {
    this.#target = target;
    this.pool = new ServicePool({ clock: systemClock, isOwnSocket: () => false }, options);
  }

  /** Opens an http stream to the target; the exchange has ended when `closed` resolves. */
  open(
    head: Partial<RequestHead> = {},
    options: HttpOptions & { windowBytes?: number } = {},
  ): Peer & { done: Promise<void> } {
    const { opened, accepted } = createStreamPair({
      request: { deployment: 'd', service: 'web', kind: 'http' },
      requestHead: requestHead(head),
      opener: 'gateway',
      acceptor: 'member',
      ...(options.windowBytes === undefined ? {} : { windowBytes: options.windowBytes }),
    });
    const { promise: done, resolve } = Promise.withResolvers<void>();
    serveHttp({ pool: this.pool, clock: systemClock, logger: silentLogger }, accepted, this.#target, resolve, options);
    return Object.assign(new Peer(opened), { done });
  }

  /** A whole exchange. */
  async ask(head: Partial<RequestHead> = {}, body?: string): Promise<Peer> {
    const peer = this.open(body === undefined ? head : { bodyless: false, ...head });
    if (body !== undefined) peer.stream.write(Buffer.from(body));
    peer.stream.end();
    await peer.end();
    await peer.close();
    await peer.done;
    return peer;
  }

  [Symbol.dispose](): void {
    this.pool.close();
  }
}

async function httpServer(listener: RequestListener): Promise<Target & AsyncDisposable & { server: Server }> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** A service that answers each connection's first bytes with `answer`, then ends it. */
function rude(answer: string, { keep = false }: { keep?: boolean } = {}): ReturnType<typeof rawServer> {
  return rawServer((socket) => {
    socket.once('data', () => (keep ? socket.write(answer, 'latin1') : socket.end(answer, 'latin1')));
    socket.on('end', () => socket.end());
  });
}

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

suite('connector http/1.1: connections', () => {
  test('one connection serves many requests, one after another', async () => {
    await using _ = checkLeaks();
    await using server = await rawServer((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'));
    });
    using connector = new Connector(server);
    for (let i = 0; i < 5; i++) assert.equal((await connector.ask()).body, 'hi');
    assert.equal(server.connections, 1);
  });

  test('bytes nobody asked for end the connection, never the next answer', async () => {
    let sent = 0;
    await using server = await rawServer((socket) => {
      socket.on('data', () => {
        sent += 1;
        const extra = sent === 1 ? 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison' : '';
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${sent}${extra}`);
      });
    });
    using connector = new Connector(server);
    assert.equal((await connector.ask()).body, '1');
    assert.equal((await connector.ask()).body, '2');
    assert.equal(server.connections, 2);
  });

  test('bytes on an idle connection end it', async () => {
    let first: Socket | undefined;
    await using server = await rawServer((socket) => {
      first ??= socket;
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'));
    });
    using connector = new Connector(server);
    await connector.ask();
    const socket = first as unknown as Socket;
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison');
    await once(socket, 'end');
    assert.equal((await connector.ask()).body, 'hi');
    assert.equal(server.connections, 2);
  });

  test('an idle connection is closed after a while, and when the service says it will', async () => {
    for (const [keepAlive, idleMs] of [
      ['', 20],
      ['Keep-Alive: timeout=1\r\n', 60_000],
    ] as const) {
      await using server = await rawServer((socket) => {
        socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\n${keepAlive}Content-Length: 0\r\n\r\n`));
      });
      using connector = new Connector(server, { idleMs });
      await connector.ask();
      while (connector.pool.size > 0 || [...server.sockets].some((each) => !each.readableEnded)) await nextTurn();
    }
  });

  test('a kept connection that closes under a GET costs nothing; under a POST it is an error', async () => {
    let answered = 0;
    await using server = await rawServer((socket) => {
      let requests = 0;
      socket.on('data', () => {
        requests += 1;
        if (requests === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi');
        else socket.destroy();
        answered += requests === 1 ? 1 : 0;
      });
    });
    using connector = new Connector(server);
    assert.equal((await connector.ask()).body, 'hi');
    assert.equal((await connector.ask()).body, 'hi');
    const post = connector.open({ method: 'POST', bodyless: false });
    post.stream.write(Buffer.from('x'));
    assert.equal(await post.close(), 'SERVICE_RESET');
    assert.equal(answered, 2);
  });

  test('an answer before the request is complete ends the connection; the rest is read and dropped', async () => {
    await using server = await rawServer((socket) => {
      socket.once('data', () => socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno'));
    });
    using connector = new Connector(server);
    const peer = connector.open({ method: 'POST', bodyless: false });
    peer.stream.write(Buffer.from('x'));
    await peer.end();
    assert.equal(peer.answer?.status, 413);
    assert.equal(peer.body, 'no');
    assert.equal(peer.stream.write(Buffer.from('y')), true);
    peer.stream.end();
    assert.equal(await peer.close(), undefined);
    await peer.done;
    while (connector.pool.size > 0) await nextTurn();
  });

  test('an early answer arrives though the service ends with the request unread', async () => {
    await using server = await rawServer((socket) => {
      socket.pause();
      socket.end('HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno');
    });
    using connector = new Connector(server);
    const peer = connector.open({ method: 'POST', bodyless: false });
    peer.stream.write(Buffer.alloc(128 * 1024));
    await peer.end();
    assert.equal(peer.answer?.status, 413);
    assert.equal(peer.body, 'no');
    peer.stream.end();
    await peer.done;
  });

  test('a peer that never stops sending is cut off', async () => {
    await using server = await rawServer((socket) => {
      socket.once('data', () => socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n'));
    });
    using connector = new Connector(server);
    const peer = connector.open({ method: 'POST', bodyless: false }, { unreadTimeoutMs: 20 });
    peer.stream.write(Buffer.from('x'));
    assert.equal(await peer.close(), 'REQUEST_UNREAD');
  });

  test('a peer that goes away takes the connection with it', async () => {
    const { promise: gone, resolve } = Promise.withResolvers<void>();
    await using server = await httpServer((request) => void request.on('close', resolve));
    using connector = new Connector(server);
    const peer = connector.open();
    server.server.once('request', () => peer.stream.reset('CLIENT_RESET'));
    await gone;
    await peer.done;
  });
});
