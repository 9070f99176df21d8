/** Names with rules and every shape of exchange: HTTP/2, events as they come, parts, upgrades, clients that leave. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { brotliDecompressSync } from 'node:zlib';
import type { PublishRules } from '@moat/contract';
import type { StreamAcceptor } from '@moat/core';
import { EdgeUnderTest, HOST, readAll } from '../edge-under-test.ts';
import { answering, echoing, member, recording, TEXT, type Seen } from '../member.ts';
import { ask, connectHttp2 } from './http2-client.ts';

const ALL: PublishRules = {
  rate: { each: { count: 1_000, perMs: 1_000 } },
  concurrency: 2,
  headers: { request: { set: { 'x-tier': 'gold' } }, response: { set: { 'x-frame-options': 'DENY' } } },
  compress: true,
  maxBodyBytes: 1_000_000,
  sticky: true,
  retries: 1,
  breaker: { failures: 3, openMs: 1_000 },
};

function publish(edge: EdgeUnderTest, members: Readonly<Record<string, StreamAcceptor>>): void {
  for (const [peer, accept] of Object.entries(members)) edge.links.add(peer, accept);
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: Object.keys(members), rules: ALL });
}

const long = 'all the words there are '.repeat(1_000);

test('HTTP/2: compressed, with cookies that come apart', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen: Seen[] = [];
  publish(edge, { m1: recording(seen), m2: recording(seen) });
  await using session = connectHttp2(edge);
  const first = await ask(session, { 'x-long': long.slice(0, 2_000).trim(), 'accept-encoding': 'br' });
  const [cookie = ''] = String(first.headers['set-cookie']).split(';');
  assert.equal(first.headers['content-encoding'], 'br');
  assert.equal(JSON.parse(brotliDecompressSync(first.body).toString()).method, 'GET');
  const again = await ask(session, { cookie: `a=b; ${cookie}; c=d` });
  assert.equal(again.headers['set-cookie'], undefined);
  const cookies = seen[1]?.fields.filter(([name]) => name === 'cookie').map(([, value]) => value);
  assert.deepEqual(cookies?.join('; '), 'a=b; c=d');
  assert.equal(again.headers['x-frame-options'], 'DENY');
});

test('HEAD, parts and answers that are compressed already pass as they are', async () => {
  await using edge = await EdgeUnderTest.start();
  const fields = [...TEXT, ['accept-ranges', 'bytes']] as const;
  publish(edge, {
    m1: member((stream) => ({
      onEnd: () => {
        const { method, target } = stream.requestHead ?? {};
        const status = target === '/part' ? 206 : 200;
        const coded = target === '/coded' ? ([['content-encoding', 'gzip']] as const) : [];
        stream.writeHead({ status, fields: [...fields, ...coded, ['content-length', String(long.length)]] });
        if (method !== 'HEAD') stream.write(Buffer.from(long));
        stream.end();
      },
    })),
  });
  await using session = connectHttp2(edge);
  const asked = { 'accept-encoding': 'br, gzip' };
  const head = await ask(session, { ':method': 'HEAD', ...asked });
  assert.deepEqual([head.status, head.headers['content-length']], [200, String(long.length)]);
  for (const path of ['/part', '/coded']) {
    const answer = await ask(session, { ':path': path, ...asked });
    assert.deepEqual([answer.body.toString(), answer.headers['content-length']], [long, String(long.length)]);
  }
  const whole = await ask(session, asked);
  assert.equal(brotliDecompressSync(whole.body).toString(), long, 'with a length and without its end');
  assert.equal(whole.headers['content-length'], undefined);
});

test('what trickles arrives as it is written, compressed or as events', async () => {
  await using edge = await EdgeUnderTest.start();
  let next: (() => void) | undefined;
  publish(edge, {
    m1: member((stream) => {
      const type = stream.requestHead?.target === '/events' ? 'text/event-stream' : 'text/plain';
      stream.writeHead({ status: 200, fields: [['content-type', type]] });
      next = () => void stream.write(Buffer.from('one more\n\n'));
      next();
      return {};
    }),
  });
  await using session = connectHttp2(edge);
  for (const path of ['/events', '/text']) {
    const stream = session.request({ ':path': path, 'accept-encoding': 'gzip' });
    const [head] = (await once(stream, 'response')) as [Record<string, unknown>];
    assert.equal(head['content-encoding'], path === '/text' ? 'gzip' : undefined);
    for (let i = 0; i < 3; i++) {
      const [chunk] = (await once(stream, 'data')) as [Buffer];
      assert.ok(chunk.length > 0);
      next?.();
    }
    stream.close();
    await once(stream, 'close');
  }
});

test('an upgrade is untouched, and counted until it ends', async () => {
  await using edge = await EdgeUnderTest.start();
  publish(edge, { m1: echoing(101, [['upgrade', 'echo']]) });
  const upgrade = `GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: upgrade\r\nupgrade: echo\r\naccept-encoding: br\r\n\r\n`;
  for (let round = 0; round < 3; round++) {
    const sockets = await Promise.all([edge.connect(), edge.connect()]);
    const all = sockets.map((socket) => readAll(socket));
    for (const socket of sockets) {
      socket.write(upgrade);
      await once(socket, 'data');
      socket.write(long);
    }
    assert.match(await edge.raw(`GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`), /NAME_BUSY/);
    for (const socket of sockets) socket.end();
    for (const text of await Promise.all(all)) {
      assert.match(text, /^HTTP\/1\.1 101 /);
      assert.ok(text.endsWith(`\r\n\r\n${long}`), 'every byte as it was sent');
    }
    while (edge.edge.counts.running > 0) await new Promise((resolve) => setImmediate(resolve));
  }
});

test('a compressed answer that breaks off is cut, and one whose client leaves ends at its service', async () => {
  await using edge = await EdgeUnderTest.start();
  let closed = 0;
  const both = Promise.withResolvers<void>();
  publish(edge, {
    m1: member((stream) => {
      stream.writeHead({ status: 200, fields: TEXT });
      stream.write(Buffer.from(long));
      if (stream.requestHead?.target === '/break') setImmediate(() => stream.reset('SERVICE_RESET'));
      return { onClose: () => void ((closed += 1) === 2 && both.resolve()) };
    }),
  });
  await using session = connectHttp2(edge);
  const broken = await ask(session, { ':path': '/break', 'accept-encoding': 'gzip' });
  assert.notEqual(broken.rstCode, 0);
  const left = session.request({ 'accept-encoding': 'gzip' });
  await once(left, 'data');
  left.close(8);
  await both.promise;
  assert.equal((await ask(session, { ':path': '/break' })).status, 200, 'both have left their places');
});

test('a name that gets and loses rules under load answers every request', async () => {
  await using edge = await EdgeUnderTest.start();
  publish(edge, { m1: answering('hello') });
  await using session = connectHttp2(edge);
  for (let round = 0; round < 20; round++) {
    const answers = [ask(session), ask(session)];
    await new Promise((resolve) => setImmediate(resolve));
    if (round % 2 === 0) edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['m1'] });
    else publish(edge, { m1: answering('hello') });
    for (const answer of answers) assert.equal((await answer).status, 200);
  }
});
