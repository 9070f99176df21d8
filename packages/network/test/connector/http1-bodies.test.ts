import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { suite, test } from 'node:test';
import { silentLogger, systemClock, type RequestHead } from '@moat/core';
import { serveHttp, type HttpOptions } from '../../src/connector/http1.ts';
import { ServicePool } from '../../src/connector/service-pool.ts';
import { createStreamPair } from '../../src/stream-pair.ts';
import { Peer, rawServer, requestHead, type RawServer } from '../peer.ts';

const WINDOW = 256 * 1024;

function open(
  server: RawServer,
  head: Partial<RequestHead>,
  options: HttpOptions = {},
): { peer: Peer; pool: ServicePool } & Disposable {
  const pool = new ServicePool({ clock: systemClock, isOwnSocket: () => false });
  const { opened, accepted } = createStreamPair({
    request: { deployment: 'd', service: 'web', kind: 'http' },
    requestHead: requestHead(head),
    opener: 'gateway',
    acceptor: 'member',
    windowBytes: WINDOW,
  });
  serveHttp({ pool, clock: systemClock, logger: silentLogger }, accepted, server, () => undefined, options);
  return { peer: new Peer(opened), pool, [Symbol.dispose]: () => pool.close() };
}

suite('connector http/1.1: large bodies', () => {
  test('an upload waits for a service that does not read', async () => {
    const { promise: accepted, resolve } = Promise.withResolvers<Socket>();
    await using server = await rawServer((socket) => resolve(socket.pause()));
    using exchange = open(server, { method: 'PUT', bodyless: false });
    const socket = await accepted;
    const piece = Buffer.alloc(64 * 1024, 'x');
    const total = 64 * 1024 * 1024;
    let written = 0;
    const fill = (): void => {
      while (written < total) {
        written += piece.length;
        if (!exchange.peer.stream.write(piece)) return;
      }
      exchange.peer.stream.end();
    };
    fill();
    // Credit comes back until socket buffers are full, then stops: wait for the service to have seen some.
    let drains = -1;
    while (drains !== exchange.peer.drains) {
      drains = exchange.peer.drains;
      for (let turn = 0; turn < 50; turn++) {
        await new Promise((resolveTurn) => setImmediate(resolveTurn));
        if (exchange.peer.drains !== drains) fill();
      }
    }
    assert.ok(written < 32 * 1024 * 1024, `the peer could send ${written} bytes to a service that reads none`);
    let received = 0;
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (chunk.includes('0\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
    socket.resume();
    for (let seen = exchange.peer.drains; exchange.peer.trailers === undefined; seen = exchange.peer.drains) {
      await exchange.peer.until(() => exchange.peer.drains !== seen || exchange.peer.trailers !== undefined);
      if (exchange.peer.drains !== seen) fill();
    }
    assert.ok(received > total);
    assert.equal(exchange.peer.answer?.status, 200);
  });

  test('a download waits for a peer that does not read, and arrives whole', async () => {
    const total = 48 * 1024 * 1024;
    const piece = Buffer.alloc(64 * 1024, 'y');
    let sent = 0;
    await using server = await rawServer((socket) => {
      const fill = (): void => {
        while (sent < total) {
          sent += piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
        socket.on('drain', fill);
        fill();
      });
    });
    using exchange = open(server, {});
    const { peer } = exchange;
    peer.stream.pause();
    peer.stream.end();
    await peer.until(() => peer.bytes >= WINDOW);
    let before = -1;
    while (before !== sent) {
      before = sent;
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(peer.bytes <= WINDOW + 64 * 1024, `${peer.bytes} bytes beyond the window`);
    assert.ok(sent < 24 * 1024 * 1024, `the service could send ${sent} bytes to a peer that reads none`);
    peer.stream.resume();
    await peer.end();
    assert.equal(peer.bytes, total);
    const expected = createHash('sha256').update(Buffer.alloc(total, 'y')).digest('hex');
    assert.equal(createHash('sha256').update(Buffer.concat(peer.chunks)).digest('hex'), expected);
  });
});

suite('connector http/1.1: upgrade', () => {
  const AGREED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

  test('bytes both ways, from the first, with half-close', async () => {
    const { promise: seen, resolve } = Promise.withResolvers<string>();
    await using server = await rawServer((socket) => {
      socket.once('data', (bytes: Buffer) => {
        resolve(bytes.toString('latin1'));
        socket.write(`${AGREED}first`);
        socket.on('data', (chunk: Buffer) => socket.write(`<${chunk.toString()}>`));
        socket.on('end', () => socket.end('bye'));
      });
    });
    using exchange = open(server, { upgrade: 'websocket', fields: [['sec-websocket-key', 'k']] });
    const { peer } = exchange;
    await peer.until(() => peer.body === 'first');
    assert.equal(
      await seen,
      'GET / HTTP/1.1\r\nhost: shop.example\r\nsec-websocket-key: k\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    );
    assert.deepEqual(peer.answer, { status: 101, fields: [['upgrade', 'websocket']] });
    peer.stream.write(Buffer.from('hello'));
    await peer.until(() => peer.body === 'first<hello>');
    peer.stream.end();
    assert.equal(await peer.close(), undefined);
    assert.equal(peer.body, 'first<hello>bye');
  });

  test('bytes before the service agreed come after it did', async () => {
    await using server = await rawServer((socket) => {
      socket.once('data', (bytes: Buffer) => {
        assert.ok(bytes.toString('latin1').endsWith('\r\n\r\n'), 'nothing but the head before the agreement');
        socket.write(AGREED);
        socket.on('data', (chunk: Buffer) => socket.write(chunk));
      });
    });
    using exchange = open(server, { upgrade: 'websocket' });
    exchange.peer.stream.write(Buffer.from('early'));
    await exchange.peer.until(() => exchange.peer.body === 'early');
  });

  test('too many bytes before the service agreed', async () => {
    await using server = await rawServer(() => undefined);
    using exchange = open(server, { upgrade: 'websocket' }, { maxEarlyBytes: 1_000 });
    exchange.peer.stream.write(Buffer.alloc(1_001));
    assert.equal(await exchange.peer.close(), 'REQUEST_INVALID');
  });

  test('a service that declines answers as usual, and what came early is dropped', async () => {
    let received = '';
    await using server = await rawServer((socket) => {
      socket.on('data', (bytes: Buffer) => {
        received += bytes.toString('latin1');
        socket.write('HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno');
      });
    });
    using exchange = open(server, { upgrade: 'websocket' });
    exchange.peer.stream.write(Buffer.from('GET /smuggled HTTP/1.1\r\n\r\n'));
    await exchange.peer.end();
    exchange.peer.stream.end();
    assert.equal(await exchange.peer.close(), undefined);
    assert.equal(exchange.peer.answer?.status, 400);
    assert.equal(received.includes('smuggled'), false);
  });

  test('a reset on either side resets the other', async () => {
    const { promise: accepted, resolve } = Promise.withResolvers<Socket>();
    let latest = resolve;
    await using server = await rawServer((socket) => {
      socket.once('data', () => {
        socket.write(AGREED);
        latest(socket);
      });
    });
    {
      using exchange = open(server, { upgrade: 'websocket' });
      await exchange.peer.until(() => exchange.peer.answer !== undefined);
      (await accepted).resetAndDestroy();
      assert.equal(await exchange.peer.close(), 'SERVICE_RESET');
    }
    const second = Promise.withResolvers<Socket>();
    latest = second.resolve;
    using exchange = open(server, { upgrade: 'websocket' });
    await exchange.peer.until(() => exchange.peer.answer !== undefined);
    const socket = await second.promise;
    const broken = once(socket, 'error').catch((error: unknown) => [error]);
    exchange.peer.stream.reset('CLIENT_RESET');
    const [error] = (await broken) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
  });
});
