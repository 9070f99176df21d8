import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gathered, type Gatherable } from '../src/gathered-frames.ts';

interface World {
  readonly connection: Gatherable & { status: Gatherable['status'] };
  readonly sent: Uint8Array[];
  readonly drain: () => void;
  takes: boolean;
  /** It is being closed below. */
  closing: boolean;
  aborted: boolean;
}

function begin(): World & { readonly flush: () => void } {
  const drains: (() => void)[] = [];
  const world: World = {
    sent: [],
    takes: true,
    closing: false,
    aborted: false,
    drain: () => drains.forEach((listener) => listener()),
    connection: {
      status: 'open',
      send: (data) => {
        if (world.closing) throw new Error('Cannot write to a stream that is closing');
        world.sent.push(data instanceof Uint8Array ? data : data.subarray());
        return world.takes;
      },
      abort: () => (world.aborted = true),
      addEventListener: (_: string, listener: () => void) => drains.push(listener),
    },
  };
  return Object.assign(world, gathered(world.connection));
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what is sent in one turn leaves as one, in order', async () => {
  const { connection, sent } = begin();
  for (const byte of [1, 2, 3]) assert.equal(connection.send(Uint8Array.of(byte)), true);
  assert.deepEqual(sent, []);
  await turn();
  connection.send(Uint8Array.of(4));
  await turn();
  assert.deepEqual(
    sent.map((bytes) => [...bytes]),
    [[1, 2, 3], [4]],
  );
});

test('a large one waits for nothing and overtakes nothing', async () => {
  const { connection, sent } = begin();
  connection.send(Uint8Array.of(1));
  connection.send(new Uint8Array(16 * 1024));
  assert.deepEqual(
    sent.map(({ length }) => length),
    [1, 16 * 1024],
  );
  for (let i = 0; i < 33; i++) connection.send(new Uint8Array(1024));
  assert.deepEqual(sent.map(({ length }) => length).slice(2), [16 * 1024, 16 * 1024], 'nor do many small ones');
  await turn();
  assert.equal(sent.at(-1)?.length, 1024);
});

test('what was said last leaves before the end, and nothing after it', async () => {
  const world = begin();
  world.connection.send(Uint8Array.of(1));
  world.flush();
  assert.equal(world.sent.length, 1);
  world.connection.send(Uint8Array.of(2));
  world.connection.status = 'closed';
  await turn();
  assert.equal(world.sent.length, 1);
});

test('what is being closed below ends, and harms nobody', async () => {
  const world = begin();
  world.closing = true;
  world.connection.send(Uint8Array.of(1));
  // Without a catch this is an uncaught exception.
  await turn();
  assert.equal(world.aborted, true);
  world.connection.send(Uint8Array.of(2));
  world.flush();
});

test('writers hear that nothing more is taken, and frames that pile up end the connection', async () => {
  const world = begin();
  const { connection } = world;
  world.takes = false;
  connection.send(Uint8Array.of(1));
  await turn();
  assert.equal(connection.send(Uint8Array.of(2)), false);
  world.drain();
  assert.equal(connection.send(Uint8Array.of(3)), true);
  await turn();
  for (let i = 0; i < 4095; i++) connection.send(Uint8Array.of(4));
  assert.equal(world.aborted, false);
  connection.send(Uint8Array.of(5));
  assert.equal(world.aborted, true);
});
