import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock, type Clock, type MoatError } from '@moat/core';
import { Agent, Owner, exchange, listenerOf, startEcho, until } from './world.ts';
import { createConsoleLogger } from './console-logger.ts';
import { SteppedClock } from './stepped-clock.ts';

const HOUR = 3_600_000;

/** db-1 (keeper, offers db, admin and ssh) and web-1, which joined by token and may reach db and ssh. */
async function grow(
  stack: AsyncDisposableStack,
  clock: Clock = systemClock,
): Promise<{ owner: Owner; one: Agent; two: Agent; port: number }> {
  const echo = stack.use(await startEcho());
  const one = stack.use(await Agent.start({ logger: createConsoleLogger('one'), clock }));
  const two = stack.use(await Agent.start({ logger: createConsoleLogger('two'), clock }));
  const owner = new Owner(one);
  const place = owner.invited('web-1', 3);
  await owner.apply({
    members: [await owner.pinned('db-1', 2, one, { keeper: true }), place.member],
    services: [
      { name: 'db', on: ['db-1'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' },
      { name: 'admin', on: ['db-1'], port: 9000, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' },
      { name: 'ssh', on: ['db-1'], port: 22, target: '127.0.0.1:22', protocol: 'tcp' },
    ],
    access: [{ from: ['web-1'], to: ['db', 'ssh'] }],
  });
  await one.client.expose({ deployment: 'shop', target: String(echo.port) });
  await two.client.join({ token: await place.token() });
  return { owner, one, two, port: echo.port };
}

test('a service is reached by its loopback listener, by SOCKS and by a forward', async () => {
  await using stack = new AsyncDisposableStack();
  const { two } = await grow(stack);
  const listener = await listenerOf(two, 'shop', 'db');
  assert.match(listener.host, /^127\./);
  assert.equal(listener.port, 5432);
  assert.equal(await exchange(listener, 'by listener'), 'by listener');

  const { socks, hosts } = await two.client.hosts('shop');
  assert.deepEqual(
    hosts.map(({ name }) => name),
    ['db.shop.internal', 'ssh.shop.internal'],
  );
  assert.ok(socks !== null);
  assert.equal(await bySocks(socks, 'db.shop.internal', 5432, 'by socks'), 'by socks');

  const tcp = await two.client.addForward({ deployment: 'shop', service: 'db', local: '0' });
  assert.equal(
    await exchange({ host: '127.0.0.1', port: Number(tcp.local.split(':')[1]) }, 'by forward'),
    'by forward',
  );
  const port = tcp.local.split(':')[1] ?? '';
  await assert.rejects(
    two.client.addForward({ deployment: 'shop', service: 'db', local: port }),
    (error: MoatError) => {
      return error.code === 'LISTEN_FAILED' && error.reason === 'another program listens there (EADDRINUSE)';
    },
  );
  await assert.rejects(two.client.expose({ deployment: 'shop', target: port }), { code: 'TARGET_OWN' });
  const path = join(two.stateDir, 'db.sock');
  const unix = await two.client.addForward({ deployment: 'shop', service: 'db', local: `unix:${path}`, keep: true });
  assert.equal(await exchange({ path }, 'by unix'), 'by unix');
  await two.client.removeForward(tcp.id);
  assert.deepEqual(
    (await two.client.forwards()).map(({ id }) => id),
    [unix.id],
  );
  await two.stop();
  await two.start();
  assert.equal(await exchange({ path }, 'after a restart'), 'after a restart');
});

test('what is not granted, exposed or known is refused by its code', async () => {
  await using stack = new AsyncDisposableStack();
  const { one, two, port } = await grow(stack);
  await two.client.ping('shop', { target: 'db' });
  await assert.rejects(two.client.ping('shop', { target: 'admin' }), { code: 'GRANT_DENIED' });
  await assert.rejects(two.client.ping('shop', { target: 'ssh' }), { code: 'NOT_EXPOSED' });
  await assert.rejects(two.client.ping('shop', { target: 'nothing' }), { code: 'MEMBER_UNKNOWN' });
  await assert.rejects(two.client.ping('nothing', { target: 'db' }), { code: 'DEPLOYMENT_UNKNOWN' });
  await assert.rejects(two.client.addForward({ deployment: 'shop', service: 'nothing', local: '0' }), {
    code: 'SERVICE_UNKNOWN',
  });
  await assert.rejects(two.client.addForward({ deployment: 'shop', service: 'db', local: '0.0.0.0:1' }), {
    code: 'FORWARD_INVALID',
  });

  const explained = await two.client.explain('shop', 'web-1', 'db');
  assert.deepEqual([explained.allowed, explained.grant, explained.path], [true, 0, 'direct']);
  const denied = await two.client.explain('shop', 'web-1', 'admin');
  assert.deepEqual([denied.allowed, denied.code], [false, 'GRANT_DENIED']);

  // Moat's own sockets are no targets, consent that is taken back ends.
  const status = await one.client.status();
  const own = Number(/tcp\/(\d+)/.exec(status.addresses[0] ?? '')?.[1]);
  for (const target of [own, status.linkPort, status.socks?.port]) {
    await assert.rejects(one.client.expose({ deployment: 'shop', target: String(target) }), { code: 'TARGET_OWN' });
  }
  await one.client.unexpose({ deployment: 'shop', target: String(port) });
  await assert.rejects(two.client.ping('shop', { target: 'db' }), { code: 'NOT_EXPOSED' });
  await assert.rejects(one.client.unexpose({ deployment: 'shop', target: String(port) }), { code: 'EXPOSED_UNKNOWN' });
});

test('a new version reaches the other node; a grant it takes away ends the running stream', async () => {
  await using stack = new AsyncDisposableStack();
  const { owner, two } = await grow(stack);
  const listener = await listenerOf(two, 'shop', 'db');
  const socket = connect(listener);
  await new Promise((resolve) => socket.write('hello', () => socket.once('data', resolve)));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => undefined);
  await owner.apply({ access: [{ from: ['web-1'], to: ['ssh'] }] });
  await closed;
  await until('version 1 at the other node', async () => (await two.client.deployment('shop')).version === 1);
  await assert.rejects(two.client.ping('shop', { target: 'db' }), { code: 'GRANT_DENIED' });
  await owner.apply({ access: [{ from: ['web-1'], to: ['db'] }] });
  await until('version 2 at the other node', async () => (await two.client.deployment('shop')).version === 2);
  assert.equal(await exchange(await listenerOf(two, 'shop', 'db'), 'again'), 'again');
  const { receipts } = await two.client.deployment('shop');
  assert.deepEqual(
    receipts.map(({ version, result }) => [version, result]),
    [
      [2, 'applied'],
      [1, 'applied'],
      [0, 'applied'],
    ],
  );
});

test('an expired grant opens nothing and its running stream ends', async () => {
  await using stack = new AsyncDisposableStack();
  const clock = new SteppedClock();
  const { owner, two } = await grow(stack, clock);
  const expires = `${new Date(clock.now() + HOUR).toISOString().slice(0, 19)}Z`;
  await owner.apply({ access: [{ from: ['web-1'], to: ['db'], expires }] });
  await until('version 1 at the other node', async () => (await two.client.deployment('shop')).version === 1);
  const socket = connect(await listenerOf(two, 'shop', 'db'));
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.write('hello', () => socket.once('data', resolve)));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  clock.pass(HOUR);
  await closed;
  await assert.rejects(two.client.ping('shop', { target: 'db' }), { code: 'GRANT_EXPIRED' });
});

test('with private access nothing on loopback leads in without the password', async () => {
  await using stack = new AsyncDisposableStack();
  const { two } = await grow(stack);
  await two.stop();
  await two.start({ access: 'private' });
  const { hosts, socks, proxyPasswordFile } = await two.client.hosts('shop');
  const { dns } = await two.client.status();
  assert.deepEqual([hosts, dns], [[], null]);
  assert.ok(socks !== null && proxyPasswordFile !== null);
  await assert.rejects(bySocks(socks, 'db.shop.internal', 5432, 'without'));
  assert.equal((await stat(proxyPasswordFile)).mode & 0o777, 0o600);
  const password = (await readFile(proxyPasswordFile, 'utf8')).trim();
  assert.match(await byConnect(socks, 'db.shop.internal:5432', ''), /^HTTP\/1\.1 407 /);
  assert.match(await byConnect(socks, 'db.shop.internal:5432', `moat:${password}`), /^HTTP\/1\.1 200 /);
  await assert.rejects(two.client.addForward({ deployment: 'shop', service: 'db', local: '0' }), {
    code: 'FORWARD_INVALID',
  });
  const path = join(two.stateDir, 'db.sock');
  await two.client.addForward({ deployment: 'shop', service: 'db', local: `unix:${path}` });
  assert.equal(await exchange({ path }, 'by unix'), 'by unix');
});

test('a deployment that is left ends here at once', async () => {
  await using stack = new AsyncDisposableStack();
  const { two } = await grow(stack);
  await two.client.ping('shop', { target: 'db' });
  await two.client.forget('shop');
  assert.deepEqual(await two.client.deployments(), []);
  await assert.rejects(two.client.hosts('shop'), { code: 'DEPLOYMENT_UNKNOWN' });
  await two.stop();
  await two.start();
  assert.deepEqual(await two.client.deployments(), []);
});

/** SOCKS5 CONNECT by name (RFC 1928), then an exchange. */
/** The first the proxy answers to a CONNECT with these credentials. */
async function byConnect(proxy: { host: string; port: number }, target: string, login: string): Promise<string> {
  const socket = connect(proxy);
  const basic = Buffer.from(login).toString('base64');
  socket.write(`CONNECT ${target} HTTP/1.1\r\nProxy-Authorization: Basic ${basic}\r\n\r\n`);
  try {
    const [answer] = (await once(socket, 'data')) as [Buffer];
    return answer.toString('latin1');
  } finally {
    socket.destroy();
  }
}

async function bySocks(
  socks: { host: string; port: number },
  name: string,
  port: number,
  text: string,
): Promise<string> {
  const socket = connect(socks);
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  const bytes = async (count: number): Promise<Buffer> => {
    await until('proxy answer', async () => Buffer.concat(received).length >= count);
    return Buffer.concat(received.splice(0));
  };
  socket.write(Buffer.from([5, 1, 0]));
  assert.deepEqual([...(await bytes(2))], [5, 0]);
  const head = Buffer.from([5, 1, 0, 3, name.length]);
  socket.write(Buffer.concat([head, Buffer.from(name), Buffer.from([port >> 8, port & 255])]));
  assert.equal((await bytes(10))[1], 0);
  socket.end(text);
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(received).toString();
}
