import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { suite, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { checkLeaks } from '@moat/testkit';
import { rawServer } from '../peer.ts';
import { Connector, httpServer } from './http1-service.ts';

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
