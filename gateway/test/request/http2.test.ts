/** Requests over HTTP/2 through the whole path to members in memory. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import type { LinkStream } from '@moat/core';
import { FLAG, FRAME, HTTP2_ERROR, Http2Wire, createManualClock, http2Request, uint32 } from '@moat/testkit';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { answering, echoing, member, recording, silent, TEXT, type Seen } from '../member.ts';
import { answerOf, ask, connectHttp2 } from './http2-client.ts';

test('GET, POST, HEAD and OPTIONS *', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen: Seen[] = [];
  edge.publish({ m1: recording(seen) });
  await using session = connectHttp2(edge);
  const answer = await ask(session, { ':path': '/a?b=c', accept: 'text/plain' });
  assert.equal(answer.status, 200);
  assert.equal(Number(answer.headers['content-length']), answer.body.length);
  const [got] = seen;
  assert.deepEqual([got?.method, got?.target, got?.authority], ['GET', '/a?b=c', HOST]);
  assert.deepEqual(
    got?.fields.filter(([name]) => ['accept', 'via', 'x-forwarded-proto', 'host'].includes(name)),
    [
      ['accept', 'text/plain'],
      ['x-forwarded-proto', 'https'],
      ['via', '2 localhost'],
    ],
  );
  assert.equal((await ask(session, { ':method': 'POST' }, 'some text')).status, 200);
  assert.equal(seen[1]?.body, 'some text');
  const head = await ask(session, { ':method': 'HEAD' });
  assert.deepEqual([head.status, head.body.length, head.endedWithHead], [200, 0, true]);
  assert.equal((await ask(session, { ':method': 'OPTIONS', ':path': '*' })).status, 200);
  await edge.logged(({ method }) => method === 'OPTIONS');
  const lines = edge.log.filter(({ message }) => message === 'request');
  assert.deepEqual(
    lines.map(({ method, status, code }) => [method, status, code]),
    [
      ['GET', 200, undefined],
      ['POST', 200, undefined],
      ['HEAD', 200, undefined],
      ['OPTIONS', 200, undefined],
    ],
  );
});

test('trailers both ways, and an answer without a length', async () => {
  await using edge = await EdgeUnderTest.start();
  const trailers: unknown[] = [];
  edge.publish({
    m1: member((stream) => ({
      onEnd: (received) => {
        trailers.push(received);
        stream.writeHead({ status: 200, fields: [...TEXT, ['trailer', 'grpc-status']] });
        stream.write(Buffer.from('body'));
        stream.end([
          ['grpc-status', '0'],
          ['x-many', 'a'],
          ['x-many', 'b'],
          ['content-length', '9'],
        ]);
      },
    })),
  });
  await using session = connectHttp2(edge);
  const stream = session.request({ ':method': 'POST' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1', authorization: 'no' }));
  const answered = answerOf(stream);
  stream.end('x');
  const answer = await answered;
  assert.deepEqual(trailers, [[['x-sum', '1']]]);
  assert.equal(answer.body.toString(), 'body');
  assert.equal(answer.headers['trailer'], 'grpc-status');
  assert.deepEqual(Object.fromEntries(Object.entries(answer.trailers)), { 'grpc-status': '0', 'x-many': 'a, b' });
});

test('an answer that is only its head ends the stream with it', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({
    m1: member((stream) => {
      const { target } = stream.requestHead ?? {};
      const fields = target === '/grpc' ? ([['grpc-status', '12']] as const) : [];
      stream.writeHead({ status: target === '/204' ? 204 : 200, fields: [...TEXT, ...fields] });
      setImmediate(() => stream.end());
      return {};
    }),
  });
  await using session = connectHttp2(edge);
  for (const path of ['/grpc', '/204']) {
    const answer = await ask(session, { ':path': path });
    assert.deepEqual([path, answer.endedWithHead, answer.rstCode], [path, true, 0]);
  }
  await edge.logged(({ status }) => status === 204);
  assert.deepEqual(
    edge.log.filter(({ code }) => code !== undefined),
    [],
  );
});

test('interim answers and Expect', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({
    m1: member((stream) => ({
      onEnd: () => {
        stream.writeHead({ status: 103, fields: [['link', '</a.css>; rel=preload']] });
        stream.writeHead({ status: 200, fields: [['content-length', '0']] });
        stream.end();
      },
    })),
  });
  await using session = connectHttp2(edge);
  const answer = await ask(session, { ':method': 'POST', expect: '100-continue' }, 'body');
  assert.deepEqual(
    answer.interim.map((each) => [each[':status'], each['link']]),
    [
      [100, undefined],
      [103, '</a.css>; rel=preload'],
    ],
  );
  assert.equal(answer.status, 200);
});

test('bodies of any size both ways, at the pace of who reads', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: echoing() });
  await using session = connectHttp2(edge);
  const stream = session.request({ ':method': 'PUT', ':path': '/' });
  const size = 8 * 1_024 * 1_024;
  stream.end(Buffer.alloc(size, 'x'));
  await once(stream, 'response');
  // Nobody reads: the windows close one after the other, and what is held stays small.
  await new Promise((resolve) => setTimeout(resolve, 100));
  let received = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) received += chunk.length;
  assert.equal(received, size);
  assert.ok(edge.links.highest < 1_024 * 1_024, `held ${edge.links.highest}`);
});

test('many requests at once share a connection', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: answering('hello') });
  await using session = connectHttp2(edge);
  await once(session, 'remoteSettings');
  for (let round = 0; round < 5; round++) {
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(session)));
    assert.ok(answers.every(({ status, body }) => status === 200 && body.toString() === 'hello'));
  }
});

test('a client that resets its stream ends the request inside', async () => {
  await using edge = await EdgeUnderTest.start();
  const closed = Promise.withResolvers<string | undefined>();
  edge.publish({ m1: member(() => ({ onClose: (code) => closed.resolve(code) })) });
  await using session = connectHttp2(edge);
  const stream = session.request({ ':path': '/' });
  stream.on('error', () => undefined);
  session.ping(() => stream.close(8));
  assert.equal(await closed.promise, 'CLIENT_GONE');
  const line = await edge.logged(({ message }) => message === 'request');
  assert.deepEqual([line['status'], line['code']], [499, 'CLIENT_GONE']);
});

test('half a body is never taken for a whole one', async () => {
  await using edge = await EdgeUnderTest.start();
  const ended: string[] = [];
  let closed = Promise.withResolvers<string | undefined>();
  edge.publish({
    m1: member((stream) => ({
      onData: (chunk) => void ended.push(Buffer.from(chunk).toString()),
      onEnd: () => void ended.push('END'),
      onClose: (code) => {
        stream.reset('GONE');
        closed.resolve(code);
      },
    })),
  });
  for (const code of [2, 8]) {
    await using session = connectHttp2(edge);
    const stream = session.request({ ':method': 'POST' });
    stream.on('error', () => undefined);
    stream.write('half');
    session.ping(() => session.ping(() => stream.close(code)));
    await closed.promise;
    closed = Promise.withResolvers();
  }
  assert.ok(!ended.includes('END'));
});

test('a service that breaks off resets only its stream', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({
    m1: member((stream) => {
      if (stream.requestHead?.target !== '/broken') {
        stream.writeHead({ status: 200, fields: [['content-length', '2']] });
        stream.write(Buffer.from('ok'));
        stream.end();
        return {};
      }
      stream.writeHead({ status: 200, fields: [['content-length', '20']] });
      stream.write(Buffer.from('short'));
      setImmediate(() => stream.reset('SERVICE_RESET'));
      return {};
    }),
  });
  await using session = connectHttp2(edge);
  assert.equal((await ask(session, { ':path': '/broken' })).rstCode, 2);
  assert.equal((await ask(session)).body.toString(), 'ok');
});

test('an answer before the end of the body lets the client stop', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 413, fields: [['content-length', '3']] });
      stream.write(Buffer.from('big'));
      stream.end();
      return {};
    }),
  });
  await using session = connectHttp2(edge);
  const stream = session.request({ ':method': 'POST' });
  const answered = answerOf(stream);
  stream.write('never ends');
  const answer = await answered;
  assert.deepEqual([answer.status, answer.body.toString(), answer.rstCode], [413, 'big', 0]);
});

test('a call waits as long as its client does, a plain request as long as we do', async () => {
  const clock = createManualClock(Date.now());
  await using edge = await EdgeUnderTest.start({ clock, limits: { answerMs: 10_000, stallMs: 10_000 } });
  const streams: LinkStream[] = [];
  const arrived = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  edge.publish({
    m1: member((stream) => {
      arrived[streams.push(stream) - 1]?.resolve();
      return {};
    }),
  });
  await using session = connectHttp2(edge);
  const call = session.request({ ':method': 'POST', ':authority': HOST, 'content-type': 'application/grpc' });
  const called = answerOf(call);
  await arrived[0]?.promise;
  const plain = ask(session, { ':method': 'POST', 'content-type': 'text/plain' });
  await arrived[1]?.promise;
  for (let second = 0; second < 12; second++) {
    clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await plain).status, 504);
  streams[0]?.writeHead({ status: 200, fields: [['grpc-status', '0']] });
  streams[0]?.end();
  assert.equal((await called).headers['grpc-status'], '0');
});

test('another name than the handshake is misdirected', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: answering('hello') });
  await using session = connectHttp2(edge);
  assert.equal((await ask(session, { ':authority': 'held.localhost' })).status, 421);
  assert.equal((await ask(session)).status, 200, 'the connection goes on');
});

test('draining: what runs is answered, what is new goes elsewhere', async () => {
  await using edge = await EdgeUnderTest.start();
  const arrived = Promise.withResolvers<() => void>();
  edge.publish({
    m1: member((stream) => {
      arrived.resolve(() => {
        stream.writeHead({ status: 200, fields: [] });
        stream.write(Buffer.from('late'));
        stream.end();
      });
      return {};
    }),
  });
  await using session = connectHttp2(edge);
  const running = ask(session);
  const finish = await arrived.promise;
  const goaway = once(session, 'goaway');
  const drained = edge.edge.drain(5_000);
  assert.equal((await goaway)[0], 0);
  finish();
  assert.equal((await running).body.toString(), 'late');
  await drained;
});

test('a connection on which nothing is asked ends', async () => {
  await using edge = await EdgeUnderTest.start({ limits: { headMs: 500, idleMs: 500 } });
  edge.publish({ m1: silent });
  await using session = connectHttp2(edge);
  const closed = new Promise((resolve) => session.once('close', resolve));
  await once(session, 'connect');
  await closed;
});

test('off, nobody can choose it', async () => {
  await using edge = await EdgeUnderTest.start({ http2: false });
  edge.publish({ m1: answering('hello') });
  await assert.rejects(edge.connect(HOST, ['h2']), /no application protocol/);
  const socket = await edge.connect(HOST, ['h2', 'http/1.1']);
  assert.equal(socket.alpnProtocol, 'http/1.1');
  socket.destroy();
});

test('a client that breaks off too much over many connections loses each that goes on', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: silent });
  const reasons = (): unknown[] =>
    edge.log.filter(({ component }) => component === 'gateway.http2').map(({ reason }) => reason);
  for (let connection = 0; connection < 12 && !reasons().includes('client'); connection++) {
    const wire = new Http2Wire(await edge.connect(HOST, ['h2'])).open();
    // Fewer than one connection may.
    for (let stream = 1; stream < 300; stream += 2) {
      wire.send(FRAME.headers, FLAG.endHeaders | FLAG.endStream, stream, http2Request(HOST));
      wire.send(FRAME.reset, 0, stream, uint32(HTTP2_ERROR.cancel));
    }
    wire.send(FRAME.ping, 0, 0, Buffer.alloc(8));
    await wire.next(({ type, flags }) => type === FRAME.goaway || (type === FRAME.ping && flags === FLAG.ack));
    wire.socket.destroy();
  }
  await edge.logged(({ component }) => component === 'gateway.http2');
  assert.deepEqual(reasons(), ['client']);
});
