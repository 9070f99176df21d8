/** Which names a TLS handshake may ask for. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { connect as connectTcp, createServer, type AddressInfo, type Socket } from 'node:net';
import { connect, type ConnectionOptions } from 'node:tls';
import { createManualClock } from '@moat/testkit';
import { DOMAIN, EdgeUnderTest, HOST, readAll } from '../edge-under-test.ts';
import { answering } from '../member.ts';

let edge: EdgeUnderTest;
before(async () => {
  edge = await EdgeUnderTest.start();
  edge.publish({ m1: answering('hello') });
});
after(() => edge[Symbol.asyncDispose]());

async function failure(options: ConnectionOptions): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port: edge.edge.httpsPort, rejectUnauthorized: false, ...options });
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  return error.code ?? error.message;
}

test('a published name, a held one and the domain itself are answered with their own certificate', async () => {
  for (const name of [HOST, 'held.localhost', DOMAIN]) {
    const socket = await edge.connect(name);
    assert.equal(socket.authorized, true);
    assert.equal(socket.getPeerCertificate().subjectaltname, `DNS:${name}`);
    assert.match(String(socket.getProtocol()), /^TLSv1\.[23]$/);
    socket.destroy();
  }
});

test('an unknown name gets unrecognized_name', async () => {
  for (const servername of [
    'nobody.localhost',
    'localhos',
    'a.shop.localhost',
    'shop.localhost.evil.example',
    '*.localhost',
  ]) {
    assert.match(await failure({ servername }), /UNRECOGNIZED_NAME/, servername);
  }
});

test('no name at all ends the handshake', async () => {
  assert.match(await failure({}), /HANDSHAKE_FAILURE/);
});

test('TLS 1.1 and protocols we do not speak are refused', async () => {
  assert.match(
    await failure({ servername: HOST, maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'ALL@SECLEVEL=0' }),
    /./,
  );
  assert.match(await failure({ servername: HOST, ALPNProtocols: ['h3'] }), /NO_APPLICATION_PROTOCOL/);
});

test('a name withdrawn after the handshake is 404', async () => {
  const early = await edge.connect();
  edge.route({ host: 'other.localhost', deployment: 'd', service: 'web', members: ['m1'] }, [HOST]);
  const all = readAll(early);
  early.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
  assert.match(await all, /^HTTP\/1\.1 404 /);
  edge.publish({ m1: answering('hello') });
});

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a session opens no door again, whoever shows it for which name, and costs nobody one (${maxVersion})`, async () => {
    const options = { host: '127.0.0.1', port: edge.edge.httpsPort, ca: edge.ca, maxVersion };
    const first = connect({ ...options, servername: HOST });
    const [session] = (await once(first, 'session')) as [Buffer];
    first.destroy();
    for (const [servername, answer] of [
      [HOST, /^HTTP\/1\.1 200 /],
      ['held.localhost', /^HTTP\/1\.1 421 /],
    ] as const) {
      const socket = connect({ ...options, servername, session });
      await once(socket, 'secureConnect');
      assert.equal(socket.isSessionReused(), false, servername);
      const all = readAll(socket);
      socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
      assert.match(await all, answer, servername);
    }
    assert.match(await failure({ servername: 'nobody.localhost', session, maxVersion }), /UNRECOGNIZED_NAME/);
    assert.match(await failure({ session, maxVersion }), /HANDSHAKE_FAILURE/);
  });
}

test('half a handshake is dropped at its deadline and costs nobody else', async () => {
  const clock = createManualClock(Date.now());
  await using slow = await EdgeUnderTest.start({ clock });
  slow.publish({ m1: answering('hello') });
  const half = connectTcp({ host: '127.0.0.1', port: slow.edge.httpsPort });
  await once(half, 'connect');
  const closed = once(half, 'close');
  half.write(Buffer.of(0x16, 0x03, 0x01));
  assert.match(await slow.raw(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`), /hello$/);
  clock.advance(11_000);
  await closed;
});

/** What a client of TLS says first under this name. */
async function helloFor(servername: string): Promise<Buffer> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const heard = once(server, 'connection').then(async ([socket]: Socket[]) => once(socket as Socket, 'data'));
  const client = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, servername });
  client.on('error', () => undefined);
  const [bytes] = (await heard) as [Buffer];
  client.destroy();
  server.close();
  return bytes;
}

for (const leave of ['end', 'resetAndDestroy'] as const) {
  test(`who leaves in the middle of a handshake is not waited for (${leave})`, async () => {
    const clock = createManualClock(Date.now());
    await using gone = await EdgeUnderTest.start({ clock });
    gone.publish({ m1: answering('hello') });
    const hello = await helloFor(HOST);
    for (const waits of [true, false]) {
      const client = connectTcp({ host: '127.0.0.1', port: gone.edge.httpsPort });
      client.on('error', () => undefined);
      await once(client, 'connect');
      client.write(hello);
      if (waits) await once(client, 'data');
      else while (gone.edge.counts.connections === 0) await new Promise((resolve) => setImmediate(resolve));
      client[leave]();
      while (gone.edge.counts.connections > 0) await new Promise((resolve) => setImmediate(resolve));
      client.destroy();
    }
  });
}

test('the plain listener only redirects names it knows', async () => {
  const ask = async (text: string): Promise<string> => {
    const socket = await edge.connectPlain();
    const all = readAll(socket);
    socket.write(text);
    return all;
  };
  const redirected = await ask(`GET /a?b=1 HTTP/1.1\r\nHost: ${HOST}:80\r\n\r\n`);
  assert.match(redirected, /^HTTP\/1\.1 308 /);
  assert.match(redirected, new RegExp(`\r\nlocation: https://${HOST}:${edge.edge.httpsPort}/a\\?b=1\r\n`));
  assert.match(await ask('GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n'), /^HTTP\/1\.1 421 /);
  assert.match(await ask('GET http://evil.example/ HTTP/1.1\r\nHost: shop.localhost\r\n\r\n'), /^HTTP\/1\.1 421 /);
  assert.match(await ask('GET / HTTP/1.1\r\nHost: shop.localhost\r\nHost: shop.localhost\r\n\r\n'), /^HTTP\/1\.1 400 /);
  assert.match(
    await ask(`HEAD //evil.example/x HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
    /location: https:\/\/shop\.localhost:\d+\/\/evil\.example\/x\r\n/,
  );
});
