import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';

import { sleep } from '@moat/core';

import { checkLeaks, createChannelPair, createManualClock, createMemoryNetwork, freePorts } from '../src/index.ts';

const soon = (): AbortSignal => AbortSignal.timeout(10_000);

test('a manual clock runs what falls due in order and nothing else', async () => {
  const clock = createManualClock(1000);
  const ran: string[] = [];
  clock.after(20, () => ran.push('b'));
  clock.after(10, () => {
    ran.push('a');
    clock.after(5, () => ran.push('a2'));
  });
  clock.after(20, () => ran.push('c'));
  clock.after(30, () => ran.push('never')).cancel();
  clock.after(1000, () => ran.push('later'));
  const slept = sleep(clock, 15);
  clock.advance(100);
  await slept;
  assert.deepEqual(ran, ['a', 'a2', 'b', 'c']);
  assert.equal(clock.now(), 1100);
  assert.equal(clock.pending, 1);
});

test('the leak check names what stayed open', async () => {
  const leaks = checkLeaks();
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  await assert.rejects(leaks.done(5), /left open: 1 TCPServerWrap/);
  server.close();
  await leaks.done();
});

test('ports that are given are free and never the same', async () => {
  const ports = await freePorts(60);
  assert.equal(new Set(ports).size, 60);
  const server = createServer().listen(ports[59], '127.0.0.1');
  await once(server, 'listening');
  const others = await freePorts(60);
  assert.ok(!others.includes(ports[59] ?? 0));
  server.close();
});

test('a channel pair delivers later, stops a writer and says when to go on', async () => {
  const { a, b } = createChannelPair({ highWaterBytes: 10, pieceBytes: 4 });
  const got: string[] = [];
  b.onData = (chunk) => void got.push(Buffer.from(chunk).toString());
  b.pause();
  assert.equal(a.write(Buffer.from('hello')), true);
  assert.equal(a.write(Buffer.from(' world')), false);
  assert.equal(a.bufferedBytes, 11);
  assert.deepEqual(got, []);
  const drained = new Promise<void>((resolve) => {
    a.onDrain = resolve;
  });
  b.resume();
  await drained;
  assert.deepEqual(got, ['hell', 'o', ' wor', 'ld']);
  const ends = Promise.all(
    [a, b].map(
      (channel) =>
        new Promise<Error | undefined>((resolve) => {
          channel.onClose = resolve;
        }),
    ),
  );
  b.onEnd = () => b.end();
  a.end();
  assert.deepEqual(await ends, [undefined, undefined]);
});

test('peers exchange messages and bytes, within their admission', async () => {
  const network = createMemoryNetwork();
  const alice = network.join('alice');
  const bob = network.join('bob');
  bob.handle('/echo/1', async (stream) => stream.write(await stream.read(soon()), soon()), { audience: 'admitted' });
  bob.handle('/hello/1', async (stream) => stream.write(Buffer.from('hi'), soon()), { audience: 'anyone' });
  const admitted: string[] = [];
  bob.onAdmitted((connection) => admitted.push(connection.peer));
  const connection = await alice.connect('bob', soon());
  const stream = await alice.open(connection, '/echo/1', soon());
  await stream.write(Buffer.from('ping'), soon());
  assert.equal(Buffer.from(await stream.read(soon())).toString(), 'ping');
  assert.deepEqual(admitted, ['alice']);
  await assert.rejects(alice.open(connection, '/other/1', soon()), { code: 'PROTOCOL_UNSUPPORTED' });
  await assert.rejects(stream.write(Buffer.alloc(70_000), soon()), { code: 'MESSAGE_TOO_LARGE' });
  await assert.rejects(alice.connect('carol', soon()), { code: 'PEER_UNREACHABLE' });
  network.disconnect('alice', 'bob');
  assert.ok(connection.closed.aborted);
  await assert.rejects(stream.read(soon()), { code: 'STREAM_ENDED' });

  const stranger = network.connect('alice', 'bob', { admitted: false });
  await assert.rejects(alice.open(stranger, '/echo/1', soon()), { code: 'PROTOCOL_UNSUPPORTED' });
  await alice.open(stranger, '/hello/1', soon());
});

test('a vanished peer answers nothing and closes nothing', async () => {
  const network = createMemoryNetwork();
  const alice = network.join('alice');
  network.join('bob');
  const connection = network.connect('alice', 'bob', { relayed: true });
  assert.equal(connection.remote, null);
  network.vanish('bob');
  assert.equal(connection.closed.aborted, false);
  const patience = new AbortController();
  const opening = alice.open(connection, '/echo/1', patience.signal);
  patience.abort(new Error('no answer'));
  await assert.rejects(opening, /no answer/);
});
