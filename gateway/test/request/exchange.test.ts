/** Requests through the whole path to members in memory: every shape of exchange HTTP/1.1 has. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { createManualClock } from '@moat/testkit';
import { HOST } from '../edge-under-test.ts';
import { answering, echoing, member, recording, silent, TEXT, type Seen } from '../member.ts';
import { fetched, get, open, start } from './exchange-client.ts';

test('GET, HEAD and OPTIONS *', async () => {
  await using edge = await start();
  edge.publish({ m1: answering('hello') });
  const answer = await get(edge);
  assert.deepEqual([answer.status, answer.text, answer.headers['content-length']], [200, 'hello', '5']);
  const head = await get(edge, { method: 'HEAD' });
  assert.deepEqual([head.status, head.text, head.headers['content-length']], [200, '', '5']);
  assert.equal((await get(edge, { method: 'OPTIONS', path: '*' })).status, 200);
  await edge.logged(({ method }) => method === 'OPTIONS');
  assert.deepEqual(edge.served, [HOST], 'told once an hour');
});

test('an answer without a length is chunked, and trailers come after it', async () => {
  await using edge = await start();
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 200, fields: [...TEXT, ['trailer', 'grpc-status']] });
      stream.write(Buffer.from('one '));
      setImmediate(() => {
        stream.write(Buffer.from('two'));
        stream.end([
          ['grpc-status', '0'],
          ['set-cookie', 'no=1'],
          ['content-length', '9'],
        ]);
      });
      return {};
    }),
  });
  const answer = await get(edge);
  assert.equal(answer.text, 'one two');
  assert.equal(answer.headers['transfer-encoding'], 'chunked');
  assert.deepEqual({ ...answer.trailers }, { 'grpc-status': '0' });
});

test('hints come first, other interim answers do not disturb', async () => {
  await using edge = await start();
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 100, fields: [] });
      stream.writeHead({ status: 103, fields: [['link', '</a.css>; rel=preload']] });
      stream.writeHead({ status: 102, fields: [] });
      stream.writeHead({ status: 200, fields: [['content-length', '0']] });
      stream.end();
      return {};
    }),
  });
  const sent = open(edge);
  const interim: number[] = [];
  sent.on('information', ({ statusCode }: { statusCode: number }) => interim.push(statusCode));
  assert.equal((await fetched(sent)).status, 200);
  assert.deepEqual(interim, [103, 102]);
});

test('Expect is answered here, once the request has a way, and never passed on', async () => {
  await using edge = await start();
  const seen: Seen[] = [];
  edge.publish({ m1: recording(seen) });
  const sent = open(edge, { method: 'PUT', headers: { expect: '100-continue', 'content-length': 3 } });
  const going = once(sent, 'continue');
  sent.flushHeaders();
  await going;
  assert.equal((await fetched(sent, 'abc')).status, 200);
  assert.equal(seen[0]?.body, 'abc');
  assert.equal(
    seen[0]?.fields.some(([name]) => name === 'expect'),
    false,
  );
  // Refused before the body is asked for.
  const refused = open(edge, {
    method: 'PUT',
    headers: { host: 'x.localhost', expect: '100-continue', 'content-length': 3 },
  });
  refused.on('continue', () => assert.fail('asked for a body it will not take'));
  refused.flushHeaders();
  const [response] = (await once(refused, 'response')) as [IncomingMessage];
  assert.equal(response.statusCode, 421);
  refused.destroy();
});

test('bodies run both ways at once, whole', async () => {
  await using edge = await start();
  edge.publish({ m1: echoing() });
  const block = Buffer.alloc(64 * 1024, 'abcdefghijklmnop');
  const blocks = 256;
  const sent = open(edge, { method: 'POST' });
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  let bytes = 0;
  const reading = answered.then(async ([response]) => {
    for await (const chunk of response as AsyncIterable<Uint8Array>) bytes += chunk.length;
  });
  for (let i = 0; i < blocks; i++) if (!sent.write(block)) await once(sent, 'drain');
  sent.end();
  await reading;
  assert.equal(bytes, blocks * block.length);
  assert.ok(edge.links.highest <= 512 * 1024, `at most ${edge.links.highest} bytes were on the way`);
});

test('server-sent events pass one by one', async () => {
  await using edge = await start();
  let tick = (): void => undefined;
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 200, fields: [['content-type', 'text/event-stream']] });
      let n = 0;
      tick = () => void stream.write(Buffer.from(`data: ${(n += 1)}\n\n`));
      return {};
    }),
  });
  const sent = open(edge);
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.setEncoding('utf8');
  for (let i = 1; i <= 5; i++) {
    const next = once(response, 'data');
    tick();
    assert.deepEqual(await next, [`data: ${i}\n\n`]);
  }
  sent.destroy();
});

test('a client that leaves ends the stream of its request', async () => {
  await using edge = await start();
  const codes: (string | undefined)[] = [];
  const ended = Promise.withResolvers<void>();
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 200, fields: TEXT });
      stream.write(Buffer.from('x'));
      return { onClose: (code) => ended.resolve(void codes.push(code)) };
    }),
  });
  const sent = open(edge);
  sent.end();
  await once(sent, 'response');
  sent.destroy();
  await ended.promise;
  assert.deepEqual(codes, ['CLIENT_GONE']);
});

test('a connection carries many requests', async () => {
  await using edge = await start();
  edge.publish({ m1: echoing() });
  const socket = await edge.connect();
  for (let i = 0; i < 20; i++) {
    socket.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 4\r\n\r\nab${String(i).padStart(2, '0')}`);
    let text = '';
    while (!text.endsWith('0\r\n\r\n')) text += String((await once(socket, 'data'))[0]);
    assert.match(text, new RegExp(`ab${String(i).padStart(2, '0')}`));
  }
  socket.destroy();
});

test('HTTP/1.0 gets an answer it can read', async () => {
  await using edge = await start();
  edge.publish({ m1: echoing() });
  const text = await edge.raw(`POST / HTTP/1.0\r\nHost: ${HOST}\r\nContent-Length: 3\r\n\r\nabc`);
  assert.match(text, /^HTTP\/1\.1 200 /);
  assert.doesNotMatch(text, /transfer-encoding/i);
  assert.match(text, /\r\n\r\nabc$/);
});

test('an answer before the end of the request ends the connection, not the answer', async () => {
  await using edge = await start();
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 413, fields: [['content-length', '4']] });
      stream.write(Buffer.from('full'));
      stream.end();
      return {};
    }),
  });
  const text = await edge.raw(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000000\r\n\r\nabc`);
  assert.match(text, /^HTTP\/1\.1 413 [\s\S]*full$/);
});

test('cookies stay with the name that set them', async () => {
  await using edge = await start();
  edge.publish({
    m1: answering('x', [
      ['set-cookie', 'a=1; Domain=localhost; Path=/'],
      ['set-cookie', 'b=2; Domain=.shop.localhost; Secure'],
      ['connection', 'x-hop'],
      ['x-hop', '1'],
      ['keep-alive', 'timeout=5'],
      ['transfer-encoding', 'chunked'],
    ]),
  });
  const { headers } = await get(edge);
  assert.deepEqual(headers['set-cookie'], ['a=1; Path=/', 'b=2; Domain=.shop.localhost; Secure']);
  assert.equal(headers['x-hop'], undefined);
  assert.equal(headers['transfer-encoding'], undefined);
});

test('live streams keep their route, withdrawn names end theirs', async () => {
  await using edge = await start();
  edge.publish({ m1: echoing(), m2: answering('new') });
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['m1'] });
  const sent = open(edge, { method: 'POST' });
  sent.write('a');
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  await once(response, 'data');
  edge.route({ host: HOST, deployment: 'd', service: 'other', members: ['m2'] });
  assert.equal((await get(edge)).text, 'new');
  sent.write('b');
  assert.equal(String((await once(response, 'data'))[0]), 'b');
  const cut = once(response, 'error');
  edge.edge.withdraw(edge.routes.swap([], [HOST]));
  await cut;
  assert.equal((await get(edge)).status, 404);
});

test('a service that does not answer is 504, a client that stalls is 408', async () => {
  const clock = createManualClock(Date.now());
  await using edge = await start({ clock, limits: { answerMs: 20_000, stallMs: 10_000 } });
  const opened = Promise.withResolvers<void>();
  edge.publish({ m1: member(() => (opened.resolve(), {})) });
  const waiting = get(edge);
  await opened.promise;
  clock.advance(19_000);
  clock.advance(3_000);
  assert.equal((await waiting).status, 504);
  const reached = Promise.withResolvers<void>();
  edge.links.add(
    'm1',
    member(() => ({ onData: () => reached.resolve() })),
  );
  const stalled = open(edge, { method: 'POST', headers: { 'content-length': '10' } });
  stalled.write('abc');
  await reached.promise;
  clock.advance(12_000);
  const [response] = (await once(stalled, 'response')) as [IncomingMessage];
  assert.equal(response.statusCode, 408);
  stalled.destroy();
});

test('bodies, rates and connections are bounded', async () => {
  await using edge = await start({ limits: { maxBodyBytes: 10, requestsPerSecond: 5, connectionsPerClient: 3 } });
  edge.publish({ m1: echoing() });
  assert.equal((await fetched(open(edge, { method: 'POST' }), 'x'.repeat(11))).status, 413);
  assert.equal((await fetched(open(edge, { method: 'POST' }), 'x'.repeat(10))).status, 200);
  const statuses: number[] = [];
  for (let i = 0; i < 8; i++) statuses.push((await get(edge)).status);
  assert.ok(statuses.includes(429), String(statuses));
  const sockets = await Promise.all([edge.connect(), edge.connect(), edge.connect()]);
  await assert.rejects(edge.connect());
  for (const socket of sockets) socket.destroy();
});

test('an error in the middle of an upload is answered and the connection ends', async () => {
  await using edge = await start();
  const codes: (string | undefined)[] = [];
  edge.publish({ m1: member(() => ({ onClose: (code) => void codes.push(code) })) });
  const text = await edge.raw(
    `POST / HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n`,
  );
  assert.match(text, /^HTTP\/1\.1 400 /);
  assert.deepEqual(codes, ['REQUEST_MALFORMED']);
});

test('stopping answers what is new with 503 and lets what runs end', async () => {
  await using edge = await start();
  let finish = (): void => undefined;
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 200, fields: TEXT });
      stream.write(Buffer.from('a'));
      finish = () => stream.end();
      return {};
    }),
  });
  const agent = new Agent({ keepAlive: true });
  const running = open(edge);
  running.end();
  const [response] = (await once(running, 'response')) as [IncomingMessage];
  const drained = edge.edge.drain(10_000);
  await assert.rejects(edge.connect());
  finish();
  let text = '';
  for await (const chunk of response as AsyncIterable<Uint8Array>) text += Buffer.from(chunk).toString();
  assert.equal(text, 'a');
  await drained;
  agent.destroy();
});

test('a member that never answers costs nothing once the client left', async () => {
  await using edge = await start();
  edge.publish({ m1: silent });
  const sent = open(edge);
  sent.on('error', () => undefined);
  sent.end();
  while (edge.links.live === 0) await new Promise((resolve) => setImmediate(resolve));
  sent.destroy();
  while (edge.links.live > 0 || edge.edge.counts.running > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await edge.logged(({ message }) => message === 'request'))['status'], 499);
});
