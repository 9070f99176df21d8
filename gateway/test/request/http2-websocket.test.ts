/** WebSocket over HTTP/2 (RFC 8441) to services that know only HTTP/1.1's handshake. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import { test } from 'node:test';
import type { RequestHead, StreamAcceptor } from '@moat/core';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { member } from '../member.ts';
import { answerOf, connectHttp2 } from './http2-client.ts';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Answers 101 as a WebSocket server does, and then sends every byte back. */
function switching(heads: RequestHead[] = [], accept?: string): StreamAcceptor {
  return member((stream) => {
    const head = stream.requestHead;
    assert.ok(head);
    heads.push(head);
    const key = head.fields.find(([name]) => name === 'sec-websocket-key')?.[1] ?? '';
    const right = createHash('sha1').update(`${key}${GUID}`).digest('base64');
    stream.writeHead({
      status: 101,
      fields: [
        ['upgrade', 'websocket'],
        ['sec-websocket-accept', accept ?? right],
        ['sec-websocket-protocol', 'chat'],
      ],
    });
    return {
      onData: (chunk) => {
        if (!stream.write(chunk)) stream.pause();
      },
      onDrain: () => stream.resume(),
      onEnd: () => stream.end(),
    };
  });
}

async function open(session: ClientHttp2Session, headers: OutgoingHttpHeaders = {}): Promise<ClientHttp2Stream> {
  if (!session.remoteSettings.enableConnectProtocol) await once(session, 'remoteSettings');
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/chat?room=1',
    ':authority': HOST,
    'sec-websocket-version': '13',
    'sec-websocket-protocol': 'chat',
    ...headers,
  });
  stream.on('error', () => undefined);
  return stream;
}

test('bytes go both ways, and each side ends for itself', async () => {
  await using edge = await EdgeUnderTest.start();
  const heads: RequestHead[] = [];
  edge.publish({ m1: switching(heads) });
  await using session = connectHttp2(edge);
  const stream = await open(session, { 'sec-websocket-key': 'a client has none to send' });
  const [answer] = (await once(stream, 'response')) as [Record<string, unknown>];
  assert.deepEqual(
    [answer[':status'], answer['sec-websocket-protocol'], answer['sec-websocket-accept'], answer['upgrade']],
    [200, 'chat', undefined, undefined],
  );
  const [head] = heads;
  assert.deepEqual(
    [head?.method, head?.target, head?.upgrade, head?.bodyless],
    ['GET', '/chat?room=1', 'websocket', true],
  );
  const keys = head?.fields.filter(([name]) => name === 'sec-websocket-key') ?? [];
  assert.equal(keys.length, 1);
  assert.equal(Buffer.from(keys[0]?.[1] ?? '', 'base64').length, 16);
  for (const text of ['one', 'two', 'three']) {
    stream.write(text);
    assert.equal(String((await once(stream, 'data'))[0]), text);
  }
  const rest: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => rest.push(chunk));
  stream.end('last');
  await once(stream, 'end');
  assert.equal(Buffer.concat(rest).toString(), 'last');
  const line = await edge.logged(({ message }) => message === 'request');
  assert.deepEqual([line['status'], line['bytesIn'], line['bytesOut'], line['code']], [101, 15, 15, undefined]);
});

test('many of them and requests share one connection', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: switching() });
  await using session = connectHttp2(edge);
  await once(session, 'remoteSettings');
  const streams = await Promise.all(Array.from({ length: 50 }, () => open(session)));
  await Promise.all(streams.map((stream) => once(stream, 'response')));
  await Promise.all(
    streams.map(async (stream, i) => {
      stream.write(`text ${i}`);
      assert.equal(String((await once(stream, 'data'))[0]), `text ${i}`);
    }),
  );
});

test('a service that declines answers as it would to any request', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 403, fields: [['content-length', '2']] });
      stream.write(Buffer.from('no'));
      stream.end();
      return {};
    }),
  });
  await using session = connectHttp2(edge);
  const answer = await answerOf(await open(session));
  assert.deepEqual([answer.status, answer.body.toString()], [403, 'no']);
});

test('a service that cannot do the handshake is not believed', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: switching([], 'wrong') });
  await using session = connectHttp2(edge);
  const answer = await answerOf(await open(session));
  assert.deepEqual([answer.status, answer.rstCode], [0, 2]);
});

test('a client that breaks off is seen inside, and other protocols are not carried', async () => {
  await using edge = await EdgeUnderTest.start();
  const closed = Promise.withResolvers<string | undefined>();
  edge.publish({ m1: member(() => ({ onClose: (code) => closed.resolve(code) })) });
  await using session = connectHttp2(edge);
  const stream = await open(session);
  session.ping(() => stream.close(8));
  assert.equal(await closed.promise, 'CLIENT_GONE');
  const other = await answerOf(await open(session, { ':protocol': 'connect-udp' }));
  assert.equal(other.status, 501);
  const plain = session.request({ ':method': 'CONNECT', ':authority': HOST });
  assert.equal((await answerOf(plain)).status, 405);
});
