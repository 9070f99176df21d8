/**
 * What a hostile client may say about itself, and how long it may take; where requests begin and end is `wire/`.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { recording, type Seen } from '../member.ts';

const seen: Seen[] = [];
let edge: EdgeUnderTest;

before(async () => {
  edge = await EdgeUnderTest.start({ limits: { headMs: 1_000 } });
  edge.publish({ m1: recording(seen) });
});
after(() => edge[Symbol.asyncDispose]());
beforeEach(() => void seen.splice(0));

const H = `Host: ${HOST}\r\n`;

test('a head that never ends is given up', async () => {
  assert.match(await edge.raw(`GET / HTTP/1.1\r\n${H}X: y`), /^HTTP\/1\.1 408 /);
  assert.deepEqual(seen, []);
});

test('names with an underscore or a dot are dropped', async () => {
  await edge.raw(
    `GET / HTTP/1.1\r\n${H}content_length: 5\r\nX_Forwarded_For: 1.2.3.4\r\nx.real.ip: 1.2.3.4\r\nx-fine: 1\r\nConnection: close\r\n\r\n`,
  );
  const names = seen[0]?.fields.map(([field]) => field) ?? [];
  assert.ok(names.includes('x-fine'));
  assert.deepEqual(
    names.filter((field) => /[_.]/.test(field)),
    [],
  );
});

test('a client cannot say who it is, nor take our word away', async () => {
  await edge.raw(
    [
      `GET / HTTP/1.1\r\n${H}X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Prefix: /x`,
      'X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-ID: forged\r\nTrue-Client-IP: 6.6.6.6',
      'Proxy-Authorization: secret\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nKeep-Alive: 5\r\nX-Hop: 1',
      'Connection: close, X-Hop, X-Forwarded-For, X-Real-IP, Forwarded\r\n\r\n',
    ].join('\r\n'),
  );
  const fields = seen[0]?.fields ?? [];
  assert.doesNotMatch(JSON.stringify(fields), /6\.6\.6\.6|evil|forged|secret|x-hop|prefix|proxy-|keep-alive|"te"/i);
  const all = new Map(fields);
  assert.equal(all.get('x-forwarded-for'), '127.0.0.1');
  assert.equal(all.get('x-real-ip'), '127.0.0.1');
  assert.equal(all.get('x-forwarded-proto'), 'https');
  assert.equal(all.get('x-forwarded-host'), HOST);
  assert.equal(all.get('forwarded'), `for=127.0.0.1;host="${HOST}";proto=https`);
});

test('trailers cannot carry what decides', async () => {
  await edge.raw(
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nx-sum: 1\r\nHost: evil\r\nAuthorization: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n`,
  );
  assert.deepEqual(seen[0]?.trailers, [['x-sum', '1']]);
});
