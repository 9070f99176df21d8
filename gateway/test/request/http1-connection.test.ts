/** One connection as its state machine sees it: who waits, who is let go, and what comes out whole. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { LinkStream } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { RequestParser } from '../../src/request/http1-parser.ts';
import { DOMAIN, EdgeUnderTest, HOST, readAll, type LogLine } from '../edge-under-test.ts';
import { answering, member, TEXT } from '../member.ts';

const GET = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
const isRequest = ({ message }: LogLine): boolean => message === 'request';

/** Answers 200 with `body`, chunks of 64 KiB. */
const sending = (body: Buffer, announced: boolean): ReturnType<typeof member> =>
  member((stream) => {
    let at = 0;
    const pump = (): void => {
      while (at < body.length) {
        const goOn = stream.write(body.subarray(at, (at += 64 * 1024)));
        if (!goOn) return;
      }
      stream.end();
    };
    return {
      onEnd: () => {
        stream.writeHead({ status: 200, fields: announced ? [['content-length', String(body.length)]] : TEXT });
        pump();
      },
      onDrain: pump,
    };
  });

test('the last answer of a connection reaches a client that takes its time', async () => {
  await using edge = await EdgeUnderTest.start();
  // More than the kernel takes at once: the end of it waits in the process when the answer is over.
  const body = Buffer.alloc(24 * 2 ** 20);
  edge.publish({ m1: sending(body, true) });
  const closing = await edge.connect();
  closing.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
  const ended = await edge.connect();
  ended.end(GET);
  const slowly = async (socket: Socket): Promise<number> => {
    let bytes = 0;
    socket.on('data', (chunk: Uint8Array) => {
      const before = bytes;
      bytes += chunk.length;
      // Stops for longer than any lingering where only what the process still holds is missing.
      if (before < 16 * 2 ** 20 && bytes >= 16 * 2 ** 20) {
        socket.pause();
        setTimeout(() => socket.resume(), 4_500);
      }
    });
    socket.once('end', () => socket.end());
    await once(socket, 'close');
    return bytes;
  };
  const got = await Promise.all([slowly(closing), slowly(ended)]);
  for (const bytes of got) assert.ok(bytes > body.length, `${bytes} of ${body.length}`);
});

test('a refusal behind an answer reaches a client that sends no more', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: answering('x'.repeat(100_000)) });
  for (const last of [`GET / HTTP/1.1\r\nHost: held.localhost\r\n\r\n`, 'GET / HTTP/1.1\r\nHost : x\r\n\r\n']) {
    const socket = await edge.connect();
    const all = readAll(socket);
    socket.end(GET + GET + last);
    const text = await all;
    assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), [
      'HTTP/1.1 200',
      'HTTP/1.1 200',
      `HTTP/1.1 ${last.includes('held') ? 421 : 400}`,
    ]);
    assert.match(text, /<\/html>\s*$/);
  }
});

test('an answer is over when its length is reached, whenever its member ends it', async () => {
  await using edge = await EdgeUnderTest.start();
  const streams: LinkStream[] = [];
  edge.publish({
    m1: member((stream) => {
      streams.push(stream);
      stream.writeHead({ status: 200, fields: [['content-length', '2']] });
      stream.write(Buffer.from('hi'));
      return undefined;
    }),
  });
  const socket = await edge.connect();
  let text = '';
  socket.on('data', (chunk: Uint8Array) => (text += Buffer.from(chunk).toString('latin1')));
  socket.write(GET);
  const line = await edge.logged(isRequest);
  assert.equal(line['status'], 200);
  assert.equal(line['code'], undefined);
  // A stream that breaks behind a whole answer breaks nothing else.
  streams[0]?.reset('LINK_LOST');
  socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
  await once(socket, 'close');
  assert.equal(text.split('HTTP/1.1 200 OK').length, 3);
  assert.equal(edge.log.filter(isRequest).length, 2);
});

test('the parser stops behind each request, answered or not', () => {
  const heads: string[] = [];
  const parser = new RequestParser(
    { scheme: 'https', maxHeadBytes: 1_024 },
    {
      onHead: ({ target }) => {
        heads.push(target);
        parser.next();
      },
      onBody: () => true,
      onEnd: () => parser.next(),
    },
  );
  const bytes = Buffer.from(GET + GET);
  const stopped = parser.execute(bytes, 0);
  assert.equal(stopped, GET.length);
  assert.deepEqual(heads, ['/']);
  assert.equal(parser.execute(bytes, stopped), bytes.length);
});

test('white space costs a head no more than its length', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: answering('x') });
  const blanks = ' '.repeat(7_000);
  const head = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: a${blanks}b\r\nX-A: a${blanks}b\r\n\r\n`;
  const socket = await edge.connect();
  const closed = once(socket, 'close');
  socket.resume();
  const began = process.cpuUsage();
  socket.write(head.repeat(19) + head.replace('Connection: a', 'Connection: close, a'));
  await closed;
  const { user, system } = process.cpuUsage(began);
  assert.equal(edge.log.filter(isRequest).length, 20);
  assert.ok(user + system < 1_000_000, `${user + system} us`);
});

test('whatever way a client leaves, nothing of its requests stays and each is logged once', async () => {
  await using edge = await EdgeUnderTest.start();
  const answering = sending(Buffer.alloc(4 * 2 ** 20), false);
  const silent = member(() => undefined);
  edge.publish({
    m1: (stream, ...rest) => (stream.requestHead?.target === '/silent' ? silent : answering)(stream, ...rest),
  });
  const target = (path: string): string => GET.replace('/ ', `${path} `);
  const ways: readonly (readonly [send: string, leave: (socket: Socket) => void])[] = [
    [target('/silent'), (socket) => void socket.end()],
    [target('/silent'), (socket) => void socket.destroy()],
    [target('/silent') + GET, (socket) => void socket.end()],
    [GET + GET, (socket) => void socket.destroy()],
    [`POST /silent HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 9\r\n\r\nx`, (socket) => void socket.end()],
    [
      `POST /silent HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx`,
      (socket) => void socket.destroy(),
    ],
  ];
  const sockets = await Promise.all(ways.map(() => edge.connect()));
  for (const [index, socket] of sockets.entries()) {
    socket.pause();
    socket.write(ways[index]?.[0] ?? '');
  }
  while (edge.edge.counts.running < ways.length) await delay(5);
  for (const [index, socket] of sockets.entries()) ways[index]?.[1](socket);
  while (edge.edge.counts.running > 0) await delay(20);
  for (const socket of sockets) socket.destroy();
  while (edge.edge.counts.connections > 0 || edge.links.live > 0) await delay(20);
  const ids = edge.log.filter(isRequest).map((line) => line['requestId']);
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(ids.length, edge.edge.counts.total);
});

test('draining lets an answer that is still on its way arrive', async () => {
  await using edge = await EdgeUnderTest.start();
  const body = Buffer.alloc(24 * 2 ** 20);
  edge.publish({ m1: sending(body, true) });
  const socket = await edge.connect();
  let bytes = 0;
  let paused = false;
  const reached = new Promise<void>((resolve) => {
    socket.on('data', (chunk: Uint8Array) => {
      bytes += chunk.length;
      if (bytes < 16 * 2 ** 20 || paused) return;
      paused = true;
      socket.pause();
      resolve();
    });
  });
  socket.write(GET);
  await reached;
  await delay(500);
  const closed = once(socket, 'close');
  const drained = edge.edge.drain(5_000);
  socket.resume();
  await Promise.all([drained, closed]);
  assert.ok(bytes > body.length, `${bytes} of ${body.length}`);
});

test('a connection that retires behind the head of an answer keeps it until the next', async () => {
  await using edge = await EdgeUnderTest.start();
  let finish = (): void => undefined;
  edge.publish({
    m1: member((stream) => {
      const fields = [['content-length', '2']] as const;
      stream.writeHead({ status: 103, fields: [['link', '</a>'], ['set-cookie', `a=b; Domain=${DOMAIN}`], ...fields] });
      stream.writeHead({ status: 200, fields });
      finish = () => {
        stream.write(Buffer.from('hi'));
        stream.end();
      };
      return undefined;
    }),
  });
  const socket = await edge.connect();
  const closed = once(socket, 'close');
  let text = '';
  const until = async (end: string): Promise<void> => {
    while (!text.endsWith(end)) await once(socket, 'data');
  };
  socket.on('data', (chunk: Uint8Array) => (text += Buffer.from(chunk).toString('latin1')));
  socket.write(GET);
  await until('GMT\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a>\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  edge.edge.retire();
  finish();
  await until('hi');
  text = '';
  socket.write(GET);
  await until('Connection: close\r\n\r\n');
  finish();
  await closed;
  assert.match(text, /hi$/);
});

test('a client that asks on behind a silent answer and leaves is not kept for ever', async () => {
  const clock = createManualClock(Date.now());
  await using edge = await EdgeUnderTest.start({ clock, limits: { headMs: 200, idleMs: 400 } });
  const asked: string[] = [];
  edge.publish({
    m1: member((stream) => {
      asked.push('GET');
      stream.writeHead({ status: 200, fields: TEXT });
      return undefined;
    }),
  });
  const socket = await edge.connect();
  for (let i = 0; i < 3; i++) {
    socket.write(GET);
    await delay(50);
  }
  while (asked.length < 1) await delay(5);
  assert.equal(edge.edge.counts.running, 1);
  socket.destroy();
  const waits = await edge.connect();
  waits.write(GET);
  while (asked.length < 2) await delay(5);
  while (edge.edge.counts.connections > 1) {
    clock.advance(50);
    await delay(5);
  }
  // Who asks nothing more may wait as long as it likes.
  clock.advance(1_000);
  await delay(50);
  assert.equal(edge.edge.counts.running, 1);
  waits.destroy();
});
