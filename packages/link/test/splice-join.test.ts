/** Two sockets as one: bytes arrive whole, unchanged and in order, whoever is slow. */
import assert from 'node:assert/strict';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, test } from 'node:test';

import { systemClock } from '@moat/core';
import { checkLeaks } from '@moat/testkit';

import { joinSockets } from '../src/splice-join.ts';

const LATER_MS = 600_000;

interface Joined extends AsyncDisposable {
  readonly left: Socket;
  readonly right: Socket;
  /** Resolves to the bytes of both directions when both are over. */
  readonly over: Promise<number>;
}

interface JoinedOptions {
  /** What the first says before it is joined. */
  readonly early?: Buffer;
  /** As if Node named the fields otherwise by which sockets read into our memory. */
  readonly plain?: boolean;
}

/** Two sockets that a third party joins. */
async function join({ early, plain = false }: JoinedOptions = {}): Promise<Joined> {
  const server = createServer({ noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const come = async (): Promise<[near: Socket, far: Socket]> => {
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const near = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    near.on('error', () => undefined);
    const [far] = await accepted;
    far.on('error', () => undefined);
    far.pause();
    const field = Object.getOwnPropertySymbols(far).find(({ description }) => description === 'kBufferGen');
    assert.ok(field !== undefined);
    if (plain) Reflect.deleteProperty(far, field);
    return [near, far];
  };
  const [left, a] = await come();
  const [right, b] = await come();
  if (early !== undefined) {
    left.write(early);
    await once(a, 'readable');
  }
  const { promise, resolve } = Promise.withResolvers<number>();
  const options = { clock: systemClock, idleMs: LATER_MS, lifeMs: LATER_MS, debit: () => 0, onOver: resolve };
  const end = joinSockets(a, b, options);
  return {
    left,
    right,
    over: promise,
    async [Symbol.asyncDispose]() {
      end();
      await promise;
      for (const socket of [left, right]) socket.destroy();
      // Only when every socket it accepted is gone.
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** In pieces of every size, never more than the socket takes. */
async function send(socket: Socket, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const end = at + randomInt(1, at % 3 === 0 ? 200 : 150_000);
    if (!socket.write(bytes.subarray(at, end))) await once(socket, 'drain');
    at = end;
  }
  socket.end();
}

/** Stops again and again, so that all on the way fills up. */
async function digest(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  let untilPause = 100_000;
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    untilPause -= chunk.length;
    if (untilPause > 0) return;
    untilPause = randomInt(1, 3_000_000);
    socket.pause();
    setTimeout(() => socket.resume(), randomInt(1, 12));
  });
  await once(socket, 'end');
  return hash.digest('hex');
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

describe('two sockets that are joined', () => {
  for (const plain of [false, true]) {
    test(`pass 16 MiB each way at once to readers who stop and go${plain ? ', read in the plain way' : ''}`, async () => {
      await using _leaks = checkLeaks();
      await using joined = await join({ plain });
      const { left, right, over } = joined;
      const [forth, back] = [randomBytes(16 * 2 ** 20), randomBytes(16 * 2 ** 20)];
      const arrived = Promise.all([digest(right), digest(left)]);
      await Promise.all([send(left, forth), send(right, back)]);
      assert.deepEqual(await arrived, [sha256(forth), sha256(back)]);
      assert.equal(await over, forth.length + back.length);
    });
  }

  test('pass on first what one side said before', async () => {
    await using _leaks = checkLeaks();
    await using joined = await join({ early: Buffer.from('early, ') });
    const { left, right, over } = joined;
    const arrived = once(right, 'data') as Promise<[Buffer]>;
    const [first] = await arrived;
    assert.equal(String(first), 'early, ');
    left.end('then late');
    const [second] = (await once(right, 'data')) as [Buffer];
    assert.equal(String(second), 'then late');
    right.resume();
    right.end();
    left.resume();
    assert.equal(await over, 16);
  });

  test('end both when one is reset, with bytes on the way', async () => {
    await using _leaks = checkLeaks();
    await using joined = await join();
    const { left, right, over } = joined;
    right.pause();
    while (left.write(Buffer.alloc(64 * 1024)));
    await once(left, 'drain');
    const gone = new Promise((resolve) => left.once('close', resolve));
    right.resetAndDestroy();
    await gone;
    await over;
  });
});
