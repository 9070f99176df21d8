/** A client that does not read must cost a window, not the answer; one that does not send, nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { echoing, member, TEXT } from '../member.ts';

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** Waits until the kernel's buffers are full and nothing moves any more; gives how much moved. */
async function stillness(moved: () => number): Promise<number> {
  for (;;) {
    const before = moved();
    await Promise.all([turns(500), delay(500)]);
    if (before > 0 && moved() === before) return before;
  }
}

test('an endless download to a client that does not read stops at its window', async () => {
  await using edge = await EdgeUnderTest.start();
  let written = 0;
  const block = Buffer.alloc(64 * 1024);
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 200, fields: TEXT });
      const pump = (): void => {
        do written += block.length;
        while (stream.write(block));
      };
      setImmediate(pump);
      return { onDrain: pump };
    }),
  });
  const sockets = await Promise.all(Array.from({ length: 8 }, () => edge.connect()));
  for (const socket of sockets) {
    socket.pause();
    socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  }
  const before = await stillness(() => written);
  const external = process.memoryUsage().external;
  await turns(2_000);
  assert.equal(written, before);
  assert.ok(written / sockets.length < 12 * 2 ** 20, `${written >> 20} MiB for ${sockets.length} clients`);
  assert.ok(process.memoryUsage().external - external < 8 * 2 ** 20);
  // One of them begins to read: it gets on, the others still cost nothing.
  const [reader] = sockets;
  assert.ok(reader);
  let read = 0;
  for await (const chunk of reader as AsyncIterable<Uint8Array>) {
    read += chunk.length;
    if (read > 32 * 2 ** 20) break;
  }
  for (const socket of sockets) socket.destroy();
});

test('an upload to a service that does not read stops at its window', async () => {
  await using edge = await EdgeUnderTest.start();
  let resume = (): void => undefined;
  let received = 0;
  edge.publish({
    m1: member((stream) => {
      stream.pause();
      resume = () => stream.resume();
      return {
        onData: (chunk) => void (received += chunk.length),
        onEnd: () => {
          stream.writeHead({ status: 200, fields: [['content-length', '0']] });
          stream.end();
        },
      };
    }),
  });
  const total = 64 * 2 ** 20;
  const socket = await edge.connect();
  socket.write(`PUT / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: ${total}\r\nConnection: close\r\n\r\n`);
  const block = Buffer.alloc(64 * 1024);
  let sent = 0;
  const pump = (): void => {
    while (sent < total) {
      sent += block.length;
      if (!socket.write(block)) return;
    }
  };
  socket.on('drain', pump);
  pump();
  await stillness(() => sent);
  assert.ok(sent < 20 * 2 ** 20, `${sent >> 20} MiB left the client`);
  assert.ok(edge.links.highest <= 512 * 1024);
  resume();
  let answer = '';
  for await (const chunk of socket as AsyncIterable<Uint8Array>) answer += Buffer.from(chunk).toString('latin1');
  assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.equal(received, total);
});

test('a slow client does not slow another', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: echoing() });
  const slow = await edge.connect();
  slow.pause();
  slow.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 50000000\r\n\r\n`);
  const block = Buffer.alloc(1 << 20);
  for (let i = 0; i < 40; i++) slow.write(block);
  await turns(1_000);
  const began = performance.now();
  for (let i = 0; i < 20; i++) {
    const text = await edge.raw(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi`);
    assert.match(text, /hi/);
  }
  assert.ok(performance.now() - began < 5_000);
  slow.destroy();
});

test('heads that come byte by byte end at their deadline', async () => {
  await using edge = await EdgeUnderTest.start({ limits: { headMs: 300 } });
  edge.publish({ m1: echoing() });
  const socket = await edge.connect();
  const closed = once(socket, 'close');
  let text = '';
  socket.on('data', (chunk: Uint8Array) => (text += Buffer.from(chunk).toString('latin1')));
  socket.write('GET / HTTP/1.1\r\n');
  const drip = setInterval(() => socket.write('X'), 20);
  await closed;
  clearInterval(drip);
  assert.match(text, /^HTTP\/1\.1 408 /);
});
