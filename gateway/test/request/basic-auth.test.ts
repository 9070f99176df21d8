/** HTTP Basic at the edge: nothing reaches a member without the right password, and passwords cost us a bounded lot. */
import assert from 'node:assert/strict';
import { scryptSync } from 'node:crypto';
import { once } from 'node:events';
import { request as httpsRequest } from 'node:https';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import { formatBasicUser, parseBasicUsers } from '@moat/contract';
import { createManualClock } from '@moat/testkit';
import type { BasicWay, EdgeAuth } from '../../src/publications/edge-rules.ts';
import { BasicAuth } from '../../src/request/basic-auth.ts';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { echoing, recording, type Seen } from '../member.ts';

const HOUR = 3_600_000;

function lineOf(user: string, password: string): string {
  const salt = Buffer.from(`salt of ${user}`.padEnd(16, '.'));
  const hash = scryptSync(password, salt, 32, { N: 4096, r: 8, p: 1 });
  return formatBasicUser(user, { log2N: 12, r: 8, p: 1, salt, hash });
}

const users = parseBasicUsers([lineOf('ana', 'correct horse'), lineOf('zoë', 'pa:ss wörd')].join('\n'));
const basicWay: BasicWay = { deployment: 'd', realm: 'shop', users };
const auth: EdgeAuth = { kind: 'ways', deployment: 'd', mark: 'one', basic: basicWay };
const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

async function published(edge: EdgeUnderTest, rule: EdgeAuth = auth): Promise<Seen[]> {
  const seen: Seen[] = [];
  edge.links.add('m1', recording(seen));
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['m1'], auth: rule });
  return seen;
}

function ask(edge: EdgeUnderTest, authorization?: string, method = 'GET'): ClientRequest {
  return httpsRequest({
    host: '127.0.0.1',
    port: edge.edge.httpsPort,
    servername: HOST,
    ca: edge.ca,
    agent: false,
    method,
    headers: { host: HOST, ...(authorization === undefined ? {} : { authorization }) },
  });
}

async function answerTo(sent: ClientRequest, body?: string): Promise<IncomingMessage> {
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  sent.end(body);
  const [response] = await answered;
  return response.resume();
}

test('without the right password 401 says what to send, and the member hears nothing', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen = await published(edge);
  const wrong = [
    undefined,
    basic('ana', 'wrong'),
    basic('bob', 'correct horse'),
    'Basic x:y',
    'Bearer abc',
    basic('', 'x'),
  ];
  for (const authorization of wrong) {
    const answer = await answerTo(ask(edge, authorization, 'POST'), 'a body');
    assert.equal(answer.statusCode, 401, authorization);
    assert.equal(answer.headers['www-authenticate'], 'Basic realm="shop", charset="UTF-8"');
  }
  assert.deepEqual(seen, []);
  assert.equal(edge.links.live, 0);
});

test('with it the request goes in whole, without the password, with the name', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen = await published(edge);
  for (const [user, password] of [
    ['ana', 'correct horse'],
    ['ana', 'correct horse'],
    ['zoë', 'pa:ss wörd'],
  ] as const) {
    assert.equal((await answerTo(ask(edge, basic(user, password), 'POST'), 'a body')).statusCode, 200);
  }
  assert.deepEqual(
    seen.map(({ body }) => body),
    ['a body', 'a body', 'a body'],
  );
  assert.ok(seen.every(({ fields }) => fields.every(([name]) => name !== 'authorization')));
  assert.deepEqual(
    seen.map(({ fields }) => fields.find(([name]) => name === 'x-forwarded-user')?.[1]),
    ['ana', 'ana', encodeURIComponent('zoë')],
  );
  assert.ok(!JSON.stringify(edge.log).includes('correct horse'));
});

test('a WebSocket is asked like any other request', async () => {
  await using edge = await EdgeUnderTest.start();
  const accepting = echoing(101, [
    ['connection', 'upgrade'],
    ['upgrade', 'websocket'],
  ]);
  let opened = 0;
  edge.links.add('m1', (stream) => {
    opened += 1;
    accepting(stream);
  });
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['m1'], auth });
  const upgrade =
    `GET /ws HTTP/1.1\r\nHost: ${HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
  assert.match(await edge.raw(`${upgrade}\r\n`), /^HTTP\/1\.1 401 /);
  assert.equal(opened, 0);
  const socket = await edge.connect();
  socket.write(`${upgrade}Authorization: ${basic('ana', 'correct horse')}\r\n\r\n`);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  assert.match(chunk.toString('latin1'), /^HTTP\/1\.1 101 /);
  assert.equal(opened, 1);
  socket.destroy();
});

test('a client that leaves while its password is checked costs nothing more', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen = await published(edge);
  const sent = ask(edge, basic('ana', 'correct horse'));
  sent.on('error', () => undefined);
  sent.end();
  await once(sent, 'finish');
  sent.destroy();
  await edge.logged(({ status }) => status === 499 || status === 200);
  assert.ok(seen.length <= 1);
  assert.equal(edge.edge.counts.running, 0);
});

test('what changes under a name while a password is checked counts for the request that waits', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen = await published(edge);
  const spec = { host: HOST, deployment: 'd', service: 'web', members: ['m1'] };
  const others: EdgeAuth = { ...auth, basic: { ...basicWay, users: parseBasicUsers(lineOf('zoë', 'x')) } };
  edge.onceRouted = () => edge.route({ ...spec, auth: others });
  assert.equal((await answerTo(ask(edge, basic('ana', 'correct horse')))).statusCode, 401, 'the user was taken out');
  await using again = await EdgeUnderTest.start();
  again.links.add('m1', recording(seen));
  again.route({ ...spec, auth });
  again.onceRouted = () => again.routes.swap([], [HOST]);
  assert.equal((await answerTo(ask(again, basic('ana', 'correct horse')))).statusCode, 404, 'withdrawn');
  assert.deepEqual(seen, []);
});

test('a box that cannot be opened lets nobody in', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen = await published(edge, { kind: 'unreadable' });
  const answer = await answerTo(ask(edge, basic('ana', 'correct horse')));
  assert.equal(answer.statusCode, 503);
  assert.deepEqual(seen, []);
  assert.equal((await edge.logged(({ status }) => status === 503))['code'], 'SECRET_UNREADABLE');
});

test('the same credentials are hashed once for all who wait, others are few at once', async () => {
  const checks = new BasicAuth({ clock: createManualClock() });
  const right = basic('ana', 'correct horse');
  const together = Array.from({ length: 50 }, () => checks.check(basicWay, right, '192.0.2.1'));
  assert.ok(together.every((one) => one instanceof Promise));
  const asked = [
    ['d', '192.0.2.2'],
    ['e', '192.0.2.1'],
    ['e', '192.0.2.2'],
    ['f', '192.0.2.3'],
  ] as const;
  const codes = asked.map(([deployment, address], i) =>
    Promise.resolve(checks.check({ ...basicWay, deployment }, basic('ana', `guess ${i}`), address)).catch(
      (error: unknown) => (isMoatError(error) ? error.code : 'none'),
    ),
  );
  // One a network and one an address, so that no network takes them all; then two in all.
  assert.deepEqual(await Promise.all(codes), ['GATEWAY_BUSY', 'GATEWAY_BUSY', 'AUTH_REQUIRED', 'GATEWAY_BUSY']);
  assert.deepEqual(new Set((await Promise.all(together)).map(({ user }) => user)), new Set(['ana']));
  assert.deepEqual(
    checks.check(basicWay, right, '192.0.2.9'),
    { user: 'ana', byPassword: true },
    'remembered: no hash',
  );
});

test('wrong passwords are so many an hour from one address; who is remembered is not held up', async () => {
  const clock = createManualClock();
  const checks = new BasicAuth({ clock });
  const codeOf = async (password: string, address: string): Promise<string> => {
    try {
      return (await checks.check(basicWay, basic('ana', password), address)).user;
    } catch (error) {
      return isMoatError(error) ? error.code : String(error);
    }
  };
  assert.equal(await codeOf('correct horse', '192.0.2.1'), 'ana');
  for (let i = 0; i < 120; i++) assert.equal(await codeOf(`guess ${i}`, '192.0.2.1'), 'AUTH_REQUIRED');
  assert.equal(await codeOf('one more', '192.0.2.1'), 'RATE_LIMITED');
  assert.equal(await codeOf('correct horse', '192.0.2.1'), 'ana');
  assert.equal(await codeOf('one more', '192.0.2.2'), 'AUTH_REQUIRED');
  clock.advance(HOUR);
  assert.equal(await codeOf('one more', '192.0.2.1'), 'AUTH_REQUIRED');
});

test('a password that was changed is not remembered', async () => {
  const checks = new BasicAuth({ clock: createManualClock() });
  await checks.check(basicWay, basic('ana', 'correct horse'), '192.0.2.1');
  const changed: BasicWay = { ...basicWay, users: parseBasicUsers(lineOf('ana', 'another')) };
  await assert.rejects(
    async () => checks.check(changed, basic('ana', 'correct horse'), '192.0.2.1'),
    (error) => isMoatError(error, 'AUTH_REQUIRED'),
  );
});
