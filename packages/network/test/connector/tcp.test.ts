import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { suite, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemClock } from '@moat/core';
import { serveTcp } from '../../src/connector/tcp.ts';
import { createStreamPair } from '../../src/stream-pair.ts';
import { Peer, rawServer } from '../peer.ts';

const WINDOW = 64 * 1024;

function open(
  target: { host: string; port: number },
  isOwnSocket = (): boolean => false,
): Peer & { done: Promise<void> } {
  const { opened, accepted } = createStreamPair({
    request: { deployment: 'd', service: 'db', kind: 'tcp' },
    opener: 'a',
    acceptor: 'b',
    windowBytes: WINDOW,
  });
  const { promise: done, resolve } = Promise.withResolvers<void>();
  serveTcp({ clock: systemClock, isOwnSocket }, accepted, { target }, resolve);
  return Object.assign(new Peer(opened), { done });
}

suite('connector tcp', () => {
  test('says connected first, then bytes both ways', async () => {
    await using server = await rawServer((socket) => socket.on('data', (chunk: Buffer) => socket.write(chunk)));
    const peer = open(server);
    peer.stream.write(Buffer.from('before it is connected'));
    await peer.until(() => peer.bytes === 22);
    assert.deepEqual(peer.heads, [{ connected: true }]);
    peer.stream.reset('CLIENT_RESET');
    await peer.done;
  });

  test('half-close from the peer: the service may still answer', async () => {
    await using server = await rawServer((socket) => {
      socket.resume();
      socket.on('end', () => socket.end('after the end'));
    });
    const peer = open(server);
    peer.stream.end();
    assert.equal(await peer.close(), undefined);
    assert.equal(peer.body, 'after the end');
    await peer.done;
  });

  test('half-close from the service: the peer may still send', async () => {
    let received = '';
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    await using server = await rawServer((socket) => {
      socket.end('bye');
      socket.on('data', (chunk: Buffer) => (received += chunk.toString()));
      socket.on('end', resolve);
    });
    const peer = open(server);
    await peer.end();
    assert.equal(peer.closed, undefined);
    peer.stream.write(Buffer.from('after the end'));
    peer.stream.end();
    await ended;
    assert.equal(received, 'after the end');
    assert.equal(await peer.close(), undefined);
    await peer.done;
  });

  test('a reset of the peer is a reset for the service', async () => {
    const { promise: accepted, resolve } = Promise.withResolvers<Socket>();
    await using server = await rawServer(resolve);
    const peer = open(server);
    await peer.until(() => peer.heads.length > 0);
    const socket = await accepted;
    const broken = once(socket, 'error').catch((error: unknown) => [error]);
    socket.resume();
    peer.stream.reset('CLIENT_RESET');
    const [error] = (await broken) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await peer.done;
  });

  test('a reset of the service is a reset for the peer', async () => {
    await using server = await rawServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
    const peer = open(server);
    peer.stream.write(Buffer.from('x'));
    assert.equal(await peer.close(), 'SERVICE_RESET');
    await peer.done;
  });

  test('unreachable: nobody listens, own socket', async () => {
    const server = await rawServer(() => undefined);
    const own = open(server, () => true);
    own.stream.write(Buffer.from('secret'));
    assert.equal(await own.close(), 'SERVICE_UNREACHABLE');
    await own.done;
    await server[Symbol.asyncDispose]();
    const nobody = open(server);
    assert.equal(await nobody.close(), 'SERVICE_UNREACHABLE');
    await nobody.done;
  });

  test('a peer that resets while connecting leaves nothing behind', async () => {
    await using server = await rawServer(() => undefined);
    const peer = open(server);
    peer.stream.reset('CLIENT_RESET');
    await peer.done;
  });

  test('back-pressure: a peer that does not read stops the service, and the other way round', async () => {
    const piece = Buffer.alloc(64 * 1024);
    let sent = 0;
    await using server = await rawServer((socket) => {
      socket.pause();
      const fill = (): void => {
        do sent += piece.length;
        while (socket.write(piece) && sent < 64 * 1024 * 1024);
      };
      socket.on('drain', fill);
      fill();
    });
    const peer = open(server);
    peer.stream.pause();
    let written = 0;
    let drains = -1;
    let before = -1;
    while (sent !== before || drains !== peer.drains) {
      before = sent;
      drains = peer.drains;
      for (let turn = 0; turn < 100; turn++) {
        await nextTurn();
        if (written === 0 || peer.drains !== drains) {
          do written += piece.length;
          while (peer.stream.write(piece) && written < 64 * 1024 * 1024);
        }
      }
    }
    assert.ok(peer.bytes <= WINDOW + 64 * 1024, `${peer.bytes} bytes beyond the window`);
    assert.ok(sent < 32 * 1024 * 1024, `the service sent ${sent}`);
    assert.ok(written < 32 * 1024 * 1024, `the peer sent ${written}`);
    peer.stream.reset('CLIENT_RESET');
    await peer.done;
  });
});
