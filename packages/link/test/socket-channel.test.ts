/** What a link's socket does with bytes: one buffer for all reads, one piece at a time on its way out. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';

import { checkLeaks } from '@moat/testkit';

import { SocketChannel } from '../src/socket-channel.ts';
import { acceptTls, dialTls } from '../src/transport.tls.ts';
import type { ByteChannel } from '@moat/core';

const ticket = { identity: 'test', psk: Buffer.alloc(32, 1), peer: 'peer' };

interface Ends extends AsyncDisposable {
  readonly dialer: ByteChannel;
  readonly acceptor: ByteChannel;
}

/** Both ends of one TLS socket. */
async function tlsEnds(): Promise<Ends> {
  const server = createServer({ noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection').then(async ([socket]: Socket[]) => {
    await once(socket as Socket, 'readable');
    (socket as Socket).read();
    return acceptTls(socket as Socket, ticket);
  });
  const signal = AbortSignal.timeout(10_000);
  const { port } = server.address() as AddressInfo;
  const [dialer, acceptor] = await Promise.all([
    dialTls({ host: '127.0.0.1', port, preambles: [Buffer.of(1)], ticket, signal }),
    accepted,
  ]);
  const closed = [dialer, acceptor].map(
    (channel) => new Promise<void>((resolve) => (channel.onClose = () => resolve())),
  );
  return {
    dialer,
    acceptor,
    async [Symbol.asyncDispose]() {
      dialer.destroy();
      acceptor.destroy();
      await Promise.all(closed);
      server.close();
      await once(server, 'close');
    },
  };
}

test('this Node reads a TLS socket into our buffer', async () => {
  await using _leaks = checkLeaks();
  await using ends = await tlsEnds();
  const buffers = new Set<ArrayBufferLike>();
  for (let i = 0; i < 5; i++) {
    for (const [from, to] of [
      [ends.dialer, ends.acceptor],
      [ends.acceptor, ends.dialer],
    ] as const) {
      const arrived = new Promise<void>((resolve) => {
        to.onData = (chunk) => {
          buffers.add(chunk.buffer);
          resolve();
        };
      });
      from.write(Buffer.from(`message ${i}`));
      await arrived;
    }
  }
  assert.equal(buffers.size, 1);
});

test('a channel that is paused from the start gets everything later, then the end', async () => {
  await using _leaks = checkLeaks();
  await using ends = await tlsEnds();
  const { dialer, acceptor } = ends;
  acceptor.pause();
  let text = '';
  acceptor.onData = (chunk) => (text += Buffer.from(chunk).toString());
  const sent = new Promise<void>((resolve) => dialer.write(Buffer.from('one '), resolve));
  await sent;
  dialer.write(Buffer.from('two '));
  dialer.write(Buffer.from('three'));
  dialer.end();
  assert.equal(text, '');
  const ended = new Promise<void>((resolve) => (acceptor.onEnd = resolve));
  acceptor.resume();
  await ended;
  assert.equal(text, 'one two three');
});

test('what came with a clean end is handed over before the channel is over', async () => {
  await using _leaks = checkLeaks();
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<Socket[]>;
  const far = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [socket] = await accepted;
  const channel = new SocketChannel(socket as Socket);
  channel.pause();
  // As TLS does with records that arrived together: the end follows the data, whether anybody reads or not.
  far.write('last words');
  socket?.resume();
  await once(socket as Socket, 'resume');
  far.end();
  await once(socket as Socket, 'close');
  const heard: string[] = [];
  channel.onData = (chunk) => heard.push(Buffer.from(chunk).toString());
  channel.onEnd = () => heard.push('end');
  channel.onClose = () => heard.push('close');
  channel.resume();
  assert.deepEqual(heard, ['last words', 'end', 'close']);
  server.close();
  await once(server, 'close');
});

test('pieces side by side leave as one, and each is given back', async () => {
  await using _leaks = checkLeaks();
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<Socket[]>;
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [far] = await accepted;
  const writes: number[] = [];
  const write = socket.write.bind(socket);
  socket.write = ((chunk: Uint8Array, done: () => void) => {
    writes.push(chunk.length);
    return write(chunk, done);
  }) as typeof socket.write;
  const channel = new SocketChannel(socket);
  const slab = Buffer.from('abcdefghij');
  const taken: number[] = [];
  for (const [index, [from, to]] of [
    [0, 1],
    [1, 4],
    [4, 7],
    [8, 10],
  ].entries()) {
    channel.write(slab.subarray(from, to), () => taken.push(index));
  }
  channel.end();
  let text = '';
  far?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await once(far as Socket, 'end');
  assert.deepEqual({ text, writes, taken }, { text: 'abcdefgij', writes: [1, 6, 2], taken: [0, 1, 2, 3] });
  far?.destroy();
  channel.destroy();
  server.close();
  await once(server, 'close');
});

test('what waits is bounded by its own word: stop at 512 KiB, go on when most has left', async () => {
  await using _leaks = checkLeaks();
  await using ends = await tlsEnds();
  const { dialer, acceptor } = ends;
  const drained = new Promise<void>((resolve) => (dialer.onDrain = resolve));
  let written = 0;
  while (dialer.write(Buffer.alloc(64 * 1024))) written += 1;
  assert.equal(written, 8);
  assert.ok(dialer.bufferedBytes >= 512 * 1024);
  acceptor.onData = () => undefined;
  await drained;
  assert.ok(dialer.bufferedBytes <= 192 * 1024);
});
