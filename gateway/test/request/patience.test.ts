/** How little a client or a member may do, and how much of what costs it nothing; and which code says so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCode } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { RequestParser } from '../../src/request/http1-parser.ts';
import { EdgeUnderTest, HOST, readAll } from '../edge-under-test.ts';
import { member, TEXT } from '../member.ts';

const STALL_MS = 10_000;
const STEP_MS = 2_000;

/** Uploads `bytes` every two seconds for up to a minute; resolves with the answer, or with what was taken of it. */
async function upload(bytes: number): Promise<string> {
  const clock = createManualClock(Date.now());
  await using edge = await EdgeUnderTest.start({ clock, limits: { stallMs: STALL_MS } });
  let arrived = Promise.withResolvers<void>();
  edge.publish({ m1: member(() => ({ onData: () => arrived.resolve() })) });
  const socket = await edge.connect();
  const answer = readAll(socket);
  socket.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 100000\r\n\r\n`);
  for (let sentMs = 0; sentMs < 60_000 && !socket.closed; sentMs += STEP_MS) {
    arrived = Promise.withResolvers<void>();
    socket.write('x'.repeat(bytes));
    await Promise.race([arrived.promise, answer]);
    clock.advance(STEP_MS);
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.destroy();
  return answer.catch(() => '');
}

test('an upload that brings less than 64 bytes a second is ended, though it never stands still', async () => {
  assert.match(await upload(100), /^HTTP\/1\.1 408 [\s\S]*CLIENT_STALLED/);
});

test('a slow upload that moves is never ended', async () => {
  assert.equal(await upload(200), '');
});

test('a member that goes on sending interim answers is ended', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({
    m1: member((stream) => {
      for (let i = 0; i < 17; i++) stream.writeHead({ status: 102, fields: [] });
      stream.writeHead({ status: 200, fields: TEXT });
      stream.end();
      return undefined;
    }),
  });
  const text = await edge.raw(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
  assert.equal(text.match(/^HTTP\/1\.1 102 /gm)?.length, 16);
  assert.match(text, /^HTTP\/1\.1 502 [\s\S]*ANSWER_INVALID/m);
});

for (const [code, bytes] of [
  ['METHOD_UNKNOWN', 'BREW / HTTP/1.1\r\nHost: a.b\r\n\r\n'],
  ['METHOD_REFUSED', 'TRACE / HTTP/1.1\r\nHost: a.b\r\n\r\n'],
  ['TARGET_TOO_LARGE', `GET /${'a'.repeat(1_000)}`],
  ['HEAD_TOO_LARGE', `GET / HTTP/1.1\r\nX: ${'a'.repeat(1_000)}`],
  ['HTTP_VERSION_UNSUPPORTED', 'GET / HTTP/1.2\r\nHost: a.b\r\n\r\n'],
  ['TRANSFER_CODING_UNSUPPORTED', 'POST / HTTP/1.1\r\nHost: a.b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n'],
  ['EXPECTATION_FAILED', 'POST / HTTP/1.1\r\nHost: a.b\r\nExpect: more\r\n\r\n'],
  ['MISDIRECTED', 'GET https://c.d/ HTTP/1.1\r\nHost: a.b\r\n\r\n'],
  ['REQUEST_MALFORMED', 'GET / HTTP/1.1\nHost: a.b\n\n'],
] as const) {
  test(`${code} says why a head is refused`, () => {
    const parser = new RequestParser(
      { scheme: 'https', maxHeadBytes: 512 },
      { onHead: () => assert.fail('it was taken'), onBody: () => true, onEnd: () => undefined },
    );
    assert.throws(
      () => parser.execute(Buffer.from(bytes, 'latin1'), 0),
      (error) => errorCode(error) === code,
    );
  });
}
