/** Headers that name a client to a service, byte by byte. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { systemClock, type Arrival } from '@moat/core';
import { clientOf, proxyHeader } from '../../src/connector/proxy-header.ts';
import { ServicePool } from '../../src/connector/service-pool.ts';
import { serveTcp } from '../../src/connector/tcp.ts';
import { createStreamPair } from '../../src/stream-pair.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const HEADERS: readonly (readonly [Arrival | undefined, string])[] = [
  [undefined, '20 00 0000'],
  [{}, '20 00 0000'],
  [{ servername: 'a.b' }, '20 00 0000'],
  [
    { client: { host: '203.0.113.9', port: 51_234 }, server: { host: '192.0.2.1', port: 443 } },
    '21 11 000c cb007109 c0000201 c822 01bb',
  ],
  [{ client: { host: '10.77.0.2', port: 0 } }, '21 11 000c 0a4d0002 00000000 0000 0000'],
  [
    { client: { host: '203.0.113.9', port: 1 }, server: { host: '192.0.2.1', port: 2 }, servername: 'a.b' },
    '21 11 0012 cb007109 c0000201 0001 0002 02 0003 612e62',
  ],
  [
    { client: { host: '2001:db8::1', port: 1 }, server: { host: '::', port: 2 } },
    `21 21 0024 20010db8000000000000000000000001 ${'00'.repeat(16)} 0001 0002`,
  ],
  [
    { client: { host: '2001:db8::1', port: 1 }, server: { host: '192.0.2.1', port: 2 } },
    '21 21 0024 20010db8000000000000000000000001 00000000000000000000ffffc0000201 0001 0002',
  ],
];

test('what a service reads', () => {
  for (const [arrival, hex] of HEADERS) {
    assert.equal(proxyHeader(arrival).toString('hex'), SIGNATURE + hex.replaceAll(' ', ''), JSON.stringify(arrival));
  }
});

test('the client of a request is the one that the gateway wrote, if it is an address', () => {
  assert.deepEqual(clientOf([['x-real-ip', '203.0.113.9']]), { host: '203.0.113.9', port: 0 });
  assert.equal(clientOf([['x-real-ip', 'evil]@host']]), undefined);
  assert.equal(clientOf([['host', 'a.b']]), undefined);
});

async function listening(): Promise<Server> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

test('it comes before the first byte of a stream', async () => {
  const server = await listening();
  const { port } = server.address() as { port: number };
  const { opened, accepted } = createStreamPair({
    request: { deployment: 'a'.repeat(26), service: 'db', kind: 'tcp' },
    opener: 'x',
    acceptor: 'y',
  });
  opened.listen({
    onHead: () => undefined,
    onData: () => undefined,
    onEnd: () => undefined,
    onDrain: () => undefined,
    onClose: () => undefined,
  });
  const connection = once(server, 'connection') as Promise<[Socket]>;
  const preamble = proxyHeader(HEADERS[3]?.[0]);
  serveTcp(
    { clock: systemClock, isOwnSocket: () => false },
    accepted,
    { target: { host: '127.0.0.1', port }, preamble },
    () => undefined,
  );
  opened.write(Buffer.from('hello'));
  opened.end();
  const [socket] = await connection;
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  assert.equal(Buffer.concat(chunks).toString('hex'), Buffer.concat([preamble, Buffer.from('hello')]).toString('hex'));
  server.close();
});

test('a connection that names its client is for that one alone', async () => {
  const server = await listening();
  const { port } = server.address() as { port: number };
  const pool = new ServicePool({ clock: systemClock, isOwnSocket: () => false });
  const address = { host: '127.0.0.1', port, preamble: proxyHeader() };
  const first = pool.take(address, { fresh: false });
  await once(first.socket, 'connect');
  pool.give(first, undefined);
  assert.equal(first.socket.destroyed, true);
  const second = pool.take(address, { fresh: false });
  assert.notEqual(second, first);
  pool.close();
  server.close();
});
