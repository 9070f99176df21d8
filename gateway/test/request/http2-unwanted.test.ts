/** Bodies that nobody wants any more are no flood, whatever comes of them; frames that nobody needs are one. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { FLAG, FRAME, HTTP2_ERROR, Http2Wire, http2Frame, http2Request } from '@moat/testkit';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { member, TEXT } from '../member.ts';
import { ask, connectHttp2 } from './http2-client.ts';

const refusing = member((stream) => {
  stream.writeHead({ status: 401, fields: TEXT });
  stream.end([]);
  return {};
});

for (const [what, authority, status] of [
  ['a service', HOST, 401],
  ['the gateway', 'other.localhost', 421],
] as const) {
  test(`uploads at once that ${what} refuses keep their connection`, async () => {
    await using edge = await EdgeUnderTest.start();
    edge.publish({ m1: refusing });
    await using session = connectHttp2(edge);
    await once(session, 'remoteSettings');
    const body = Buffer.alloc(300_000, 'b');
    for (let round = 0; round < 4; round += 1) {
      const uploads = Array.from({ length: 10 }, () =>
        ask(session, { ':method': 'POST', ':authority': authority }, body),
      );
      for (const answer of await Promise.all(uploads)) assert.deepEqual([answer.status, answer.rstCode], [status, 0]);
    }
  });
}

test('requests that were refused are no leave for frames that nobody needs', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: refusing });
  const wire = new Http2Wire(await edge.connect(HOST, ['h2'])).open();
  const head = http2Request(HOST, [['content-length', '300000']], { ':method': 'POST' });
  for (let stream = 1; stream < 80; stream += 2) wire.send(FRAME.headers, FLAG.endHeaders, stream, head);
  await wire.next(({ type, stream }) => type === FRAME.reset && stream === 79);
  const nobodyNeeds = Buffer.concat(Array.from({ length: 20_000 }, () => http2Frame(99, 0, 0)));
  for (let round = 0; round < 2; round += 1) wire.socket.write(nobodyNeeds);
  const goaway = await wire.next(({ type }) => type === FRAME.goaway);
  assert.equal(goaway?.payload.readUInt32BE(4), HTTP2_ERROR.enhanceYourCalm);
});

test('many small requests save up no leave for frames that nobody needs', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: refusing });
  const wire = new Http2Wire(await edge.connect(HOST, ['h2'])).open();
  const head = http2Request(HOST);
  for (let stream = 1; stream < 4_000; stream += 2) {
    wire.send(FRAME.headers, FLAG.endHeaders | FLAG.endStream, stream, head);
    if (stream % 100 === 99)
      await wire.next((frame) => frame.stream === stream && (frame.flags & FLAG.endStream) !== 0);
  }
  const one = Buffer.from([0, 0, 0, 1]);
  const nobodyNeeds = Buffer.concat(Array.from({ length: 50_000 }, () => http2Frame(FRAME.window, 0, 0, one)));
  wire.socket.write(nobodyNeeds);
  const goaway = await wire.next(({ type }) => type === FRAME.goaway);
  assert.equal(goaway?.payload.readUInt32BE(4), HTTP2_ERROR.enhanceYourCalm);
});
