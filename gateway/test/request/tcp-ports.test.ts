/** Ports whose bytes go to one service: open while they lead somewhere, half-close kept. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import type { Arrival, StreamAcceptor } from '@moat/core';
import { freePort } from '@moat/testkit';
import type { RouteSpec } from '../../src/routes/snapshot.ts';
import { portKey } from '../../src/names/port.ts';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';

/** A service that waits for its client's end before it says anything. */
function counting(arrivals: (Arrival | undefined)[] = []): StreamAcceptor {
  return (stream) => {
    let bytes = 0;
    arrivals.push(stream.arrival);
    stream.listen({
      onHead: () => undefined,
      onData: (chunk) => void (bytes += chunk.length),
      onEnd: () => {
        stream.write(Buffer.from(`${bytes} bytes`));
        stream.end();
      },
      onDrain: () => undefined,
      onClose: () => undefined,
    });
    stream.writeHead({ connected: true });
  };
}

function routes(port: number): RouteSpec[] {
  const spec = { deployment: 'd', service: 'db', members: ['m1'], opaque: 'port', port } as const;
  return [
    { ...spec, host: HOST },
    { ...spec, host: portKey(port) },
  ];
}

/** Resolves when it is over, however. */
function over(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.once('close', () => resolve()));
}

async function dial(port: number): Promise<Socket> {
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    socket.on('error', () => undefined);
    const [error] = (await Promise.race([once(socket, 'connect'), once(socket, 'close')])) as [boolean?];
    if (error === undefined) return socket;
  }
}

test('a port opens with its route, keeps half-close, and closes with its route', async () => {
  const arrivals: (Arrival | undefined)[] = [];
  await using edge = await EdgeUnderTest.start();
  edge.links.add('m1', counting(arrivals));
  const port = await freePort();
  edge.edge.withdraw(edge.routes.swap(routes(port), [HOST]));
  for (const size of [0, 3_000_000]) {
    const client = await dial(port);
    client.end(Buffer.alloc(size));
    let said = '';
    for await (const chunk of client) said += String(chunk);
    assert.equal(said, `${size} bytes`);
  }
  assert.deepEqual(arrivals.at(-1)?.server, { host: '127.0.0.1', port });
  assert.equal(arrivals.at(-1)?.servername, undefined);
  const line = await edge.logged(({ message }) => message === 'connection');
  assert.deepEqual([line['host'], line['code']], [portKey(port), undefined]);

  const open = await dial(port);
  open.resume();
  const closed = over(open);
  open.write('x');
  edge.edge.withdraw(edge.routes.swap([], []));
  await closed;
  const late = connect({ host: '127.0.0.1', port });
  const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNREFUSED');
});

test('a port that somebody else has is said, and tried again', async () => {
  await using edge = await EdgeUnderTest.start();
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  edge.edge.withdraw(edge.routes.swap(routes(port), [HOST]));
  const line = await edge.logged(({ message }) => message.includes('cannot be opened'));
  assert.deepEqual([line['port'], line['code']], [port, 'LISTEN_FAILED']);
  other.close();
});
