/** Requests that wait to be let in have places of their deployment like all others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EdgeUnderTest, HOST, readAll } from '../edge-under-test.ts';

const SIGN_IN = `POST /.well-known/moat/sign-in HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 10\r\n\r\n`;

test('whoever signs in slowly takes a place, and gives it back', async () => {
  await using edge = await EdgeUnderTest.start({ limits: { requestsPerDeployment: 1 } });
  const auth = { kind: 'ways', deployment: 'd', mark: 'm', keys: [] } as const;
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: [], auth });
  const slow = await edge.connect();
  slow.write(SIGN_IN);
  // Its head is in work when the head of somebody who came later is.
  const whole = `${SIGN_IN.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')}0123456789`;
  let answer = '';
  while (!answer.startsWith('HTTP/1.1 503')) answer = await edge.raw(whole);
  assert.match(answer, /DEPLOYMENT_BUSY/);
  slow.end('0123456789');
  assert.match(await readAll(slow), /^HTTP\/1\.1 400 /);
  assert.match(await edge.raw(whole), /^HTTP\/1\.1 400 /);
});
