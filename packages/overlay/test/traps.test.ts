/** One test for each trap of libp2p's defaults that the host has to avoid. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { isMoatError, type ByteChannel } from '@moat/core';
import { freePort } from '@moat/testkit';
import { Deployment, introduce, soon, started, until, type Machine } from './world.fixture.ts';

function portOf({ overlay }: Machine): number {
  return Number(/\/tcp\/(\d+)/.exec(overlay.addresses()[0] ?? '')?.[1]);
}

test('limits: silent sockets from one address, ten a second, do not stop honest dials', async () => {
  await using gateway = await started();
  const sockets: net.Socket[] = [];
  const flood = setInterval(() => {
    const socket = net.connect(portOf(gateway), '127.0.0.1');
    socket.on('error', () => undefined);
    sockets.push(socket);
  }, 100);
  try {
    await until(() => sockets.length >= 15, 'more than libp2p would leave pending');
    for (let i = 0; i < 8; i++) {
      await using honest = await started({ listen: [] });
      await honest.overlay.dial(gateway.overlay.addresses(), soon());
    }
  } finally {
    clearInterval(flood);
    for (const socket of sockets) socket.destroy();
  }
});

test('limits: a socket that never finishes its handshake is closed', async () => {
  await using gateway = await started({ limits: { handshakeMs: 200 } });
  const socket = net.connect(portOf(gateway), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.resume();
  await new Promise((resolve) => socket.once('close', resolve));
});

test('back-pressure: a message writer waits for a reader that does not read', async () => {
  await using alice = await started();
  await using bob = await started();
  introduce(new Deployment().version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  const read = Promise.withResolvers<void>();
  const done = Promise.withResolvers<number>();
  bob.overlay.handle(
    '/moat/slow/1',
    async (stream) => {
      await read.promise;
      let count = 0;
      while ((await stream.read(soon())).length > 0) count += 1;
      done.resolve(count);
    },
    { audience: 'admitted' },
  );
  const stream = await alice.overlay.open(await alice.overlay.connect(bob.peer, soon()), '/moat/slow/1', soon());
  const message = new Uint8Array(64 * 1024);
  let written = 0;
  const writing = (async () => {
    for (; written < 200; written++) await stream.write(message, soon());
    await stream.write(new Uint8Array(0), soon());
  })();
  await until(() => written > 2, 'some are taken');
  await new Promise((resolve) => setTimeout(resolve, 300));
  // window 256 KiB + 128 KiB read ahead + 128 KiB unsent
  assert.ok(written < 12, `${written} messages were taken`);
  read.resolve();
  await writing;
  assert.equal(await done.promise, 200);
});

test('back-pressure: a writer that waits gives up at its deadline', async () => {
  await using alice = await started();
  await using bob = await started();
  introduce(new Deployment().version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  bob.overlay.handle('/moat/deaf/1', () => new Promise(() => undefined), { audience: 'admitted' });
  const stream = await alice.overlay.open(await alice.overlay.connect(bob.peer, soon()), '/moat/deaf/1', soon());
  const message = new Uint8Array(64 * 1024);
  await assert.rejects(
    async () => {
      for (;;) await stream.write(message, soon(300));
    },
    (error: Error) => error.name === 'TimeoutError',
  );
});

test('identify and ping: refused before hello has admitted the peer, served after', async () => {
  await using alice = await started();
  await using stranger = await started();
  await using bob = await started();
  introduce(new Deployment().version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  const strange = await stranger.overlay.dial(alice.overlay.addresses(), soon());
  const known = await bob.overlay.connect(alice.peer, soon());
  for (const protocol of [
    '/moat/id/1.0.0',
    '/moat/ping/1.0.0',
    '/moat/heads/1',
    '/libp2p/circuit/relay/0.2.0/stop',
    '/libp2p/circuit/relay/0.2.0/hop',
  ]) {
    await assert.rejects(firstBytes(stranger, strange, protocol), () => true, protocol);
  }
  assert.ok((await firstBytes(bob, known, '/moat/id/1.0.0')) > 0);
  assert.ok((await firstBytes(bob, known, '/moat/ping/1.0.0', new Uint8Array(32))) > 0);
});

test('keep-alive: the supervisor still redials after more failures than libp2p would allow', async () => {
  await using bob = await started();
  const port = await freePort();
  const keeper = await started({ listen: [`/ip4/127.0.0.1/tcp/${port}`] });
  const shop = new Deployment();
  introduce(shop.version({ 'keeper!': keeper.peer, bob: bob.peer }), keeper, bob);
  await until(() => bob.overlay.connections(keeper.peer).length > 0, 'connected');
  await keeper.overlay.stop();
  await until(() => bob.overlay.connections(keeper.peer).length === 0, 'lost');
  // a listener that hangs up counts the attempts
  let attempts = 0;
  const server = net.createServer((socket) => {
    attempts += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  await until(() => attempts > 7, 'more attempts than five');
  await new Promise((resolve) => server.close(resolve));
  await using again = await started({ key: keeper.key, listen: [`/ip4/127.0.0.1/tcp/${port}`] });
  again.view.hold(shop.newest as NonNullable<typeof shop.newest>);
  await until(() => bob.overlay.connections(keeper.peer).length > 0, 'connected again');
});

test('keepalive: a path that died without a word is noticed', async () => {
  await using bob = await started();
  await using alice = await started({ limits: { keepAliveMs: 300, redialMinMs: 60_000, redialMaxMs: 60_000 } });
  await using proxy = await freezingProxy(portOf(bob));
  const shop = new Deployment();
  const version = shop.version({ alice: alice.peer, 'bob!': bob.peer });
  bob.view.hold(version);
  alice.view.hold(version);
  const connection = await alice.overlay.dial([`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${bob.peer}`], soon());
  await new Promise((resolve) => setTimeout(resolve, 700));
  assert.equal(connection.closed.aborted, false, 'alive while it answers');
  proxy.freeze();
  await until(() => connection.closed.aborted, 'noticed');
});

test('keepalive: a path that died is found as soon as somebody waits for an answer', async () => {
  await using bob = await started();
  await using alice = await started({ limits: { redialMinMs: 60_000, redialMaxMs: 60_000 } });
  await using proxy = await freezingProxy(portOf(bob));
  const shop = new Deployment();
  const version = shop.version({ alice: alice.peer, 'bob!': bob.peer });
  bob.view.hold(version);
  alice.view.hold(version);
  const connection = await alice.overlay.dial([`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${bob.peer}`], soon());
  await until(() => alice.overlay.connections(bob.peer).length === 1, 'admitted');
  proxy.freeze();
  const since = Date.now();
  await assert.rejects(alice.overlay.open(connection, '/moat/heads/1', soon()), (error) =>
    isMoatError(error, 'PEER_UNREACHABLE'),
  );
  assert.ok(connection.closed.aborted);
  assert.ok(Date.now() - since < 4900, `${Date.now() - since} ms`);
});

test('keepalive: so is the path to an anchor, which keeps a place for us and admits nobody', async () => {
  await using anchor = await started({ anchor: true });
  await using alice = await started({ listen: [], limits: { redialMinMs: 50, redialMaxMs: 400 } });
  await using proxy = await freezingProxy(portOf(anchor));
  const address = `/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${anchor.peer}`;
  alice.view.hold(new Deployment().version({ 'alice!': alice.peer }, [address]));
  alice.overlay.viewChanged();
  await until(() => alice.overlay.reservations().length === 1, 'a place');
  const connection = await alice.overlay.dial([address], soon());
  proxy.freeze();
  const since = Date.now();
  await assert.rejects(alice.overlay.open(connection, '/moat/splice/1', soon()), (error) =>
    isMoatError(error, 'PEER_UNREACHABLE'),
  );
  assert.ok(Date.now() - since < 4900, `${Date.now() - since} ms`);
  assert.deepEqual(alice.overlay.reservations(), []);
});

test('keepalive: a place at an anchor that died without a word is noticed and taken again, though nobody asks', async () => {
  await using anchor = await started({ anchor: true });
  await using alice = await started({ listen: [], limits: { placeAliveMs: 300, redialMinMs: 50, redialMaxMs: 400 } });
  await using proxy = await freezingProxy(portOf(anchor));
  const address = `/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${anchor.peer}`;
  alice.view.hold(new Deployment().version({ 'alice!': alice.peer }, [address]));
  alice.overlay.viewChanged();
  await until(() => alice.overlay.reservations().length === 1, 'a place');
  const connection = await alice.overlay.dial([address], soon());
  proxy.freeze();
  await until(() => connection.closed.aborted, 'noticed');
  await until(() => alice.overlay.reservations().length === 1, 'a place again');
});

test('keepalive: 30 bytes there and 30 back, and none where something else was heard', async () => {
  await using bob = await started();
  await using alice = await started({ limits: { keepAliveMs: 400, redialMinMs: 60_000, redialMaxMs: 60_000 } });
  await using proxy = await freezingProxy(portOf(bob));
  const shop = new Deployment();
  const version = shop.version({ alice: alice.peer, 'bob!': bob.peer });
  bob.view.hold(version);
  alice.view.hold(version);
  await alice.overlay.dial([`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${bob.peer}`], soon());
  let [before, looks] = [-1, 0];
  const isStill = (): boolean => {
    looks = before === proxy.bytes() ? looks + 1 : 0;
    before = proxy.bytes();
    return looks >= 25;
  };
  await until(isStill, 'the greeting is over');
  const greeting = before;
  await until(() => isStill() && before > greeting, 'heads are compared, after the first keepalive');
  // a frame of Yamux is 12 bytes, and Noise adds 18
  await until(() => proxy.bytes() >= before + 5 * 60, 'five keepalives');
  assert.equal((proxy.bytes() - before) % 30, 0);
});

test('keepalive: an anchor ends the connection of who holds a place and says nothing, and others hear of it', async () => {
  await using anchor = await started({ anchor: { silentMs: 3_000 } });
  const limits = { placeAliveMs: 300, redialMinMs: 60_000, redialMaxMs: 60_000 };
  await using alice = await started({ listen: [], limits });
  await using bob = await started({ listen: [], limits });
  await using proxy = await freezingProxy(portOf(anchor));
  const shop = new Deployment();
  const members = { alice: alice.peer, bob: bob.peer };
  const version = shop.version(members, anchor.overlay.addresses());
  for (const { view } of [alice, bob]) view.hold(version);
  await bob.overlay.dial([`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${anchor.peer}`], soon());
  for (const { overlay } of [alice, bob]) overlay.viewChanged();
  await until(() => [alice, bob].every(({ overlay }) => overlay.reservations().length === 1), 'a place each');
  const connection = await alice.overlay.connect(bob.peer, soon());
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  assert.equal(connection.closed.aborted, false, 'there while both say something now and then');
  proxy.freeze();
  await until(() => connection.closed.aborted, 'noticed');
});

test('keepalive: of two relayed connections one is given back', async () => {
  await using anchor = await started({ anchor: true });
  const limits = { keepAliveMs: 300, placeAliveMs: 300 };
  await using alice = await started({ listen: [], limits });
  await using bob = await started({ listen: [], limits });
  const version = new Deployment().version({ alice: alice.peer, bob: bob.peer }, anchor.overlay.addresses());
  for (const { view, overlay } of [alice, bob]) {
    view.hold(version);
    overlay.viewChanged();
  }
  const [smaller, greater] = alice.peer < bob.peer ? [alice, bob] : [bob, alice];
  await until(() => [alice, bob].every(({ overlay }) => overlay.reservations().length === 1), 'a place each');
  // both dial before either has the other's
  await Promise.all([alice.overlay.connect(bob.peer, soon()), bob.overlay.connect(alice.peer, soon())]);
  await until(() => greater.overlay.connections(smaller.peer).length === 1, 'one is left');
  assert.equal(greater.overlay.connections(smaller.peer)[0]?.direction, 'inbound');
});

test('keepalive: so is the path to an anchor through which somebody is dialed', async () => {
  await using anchor = await started({ anchor: true });
  const limits = { redialMinMs: 50, redialMaxMs: 400 };
  await using alice = await started({ listen: [], limits });
  await using bob = await started({ listen: [], limits });
  await using proxy = await freezingProxy(portOf(anchor));
  await bob.overlay.dial(anchor.overlay.addresses(), soon());
  const address = `/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${anchor.peer}`;
  const version = new Deployment().version({ alice: alice.peer, bob: bob.peer }, [address]);
  for (const { view, overlay } of [alice, bob]) {
    view.hold(version);
    overlay.viewChanged();
  }
  await until(() => [alice, bob].every(({ overlay }) => overlay.reservations().length === 1), 'a place each');
  const connection = await alice.overlay.dial([address], soon());
  proxy.freeze();
  const since = Date.now();
  await assert.rejects(alice.overlay.connect(bob.peer, soon()), (error) => isMoatError(error, 'PEER_UNREACHABLE'));
  assert.ok(Date.now() - since < 7000, `${Date.now() - since} ms`);
  assert.ok(connection.closed.aborted);
  await until(() => alice.overlay.reservations().length === 1, 'a place again');
  await alice.overlay.connect(bob.peer, soon());
});

test('relay defaults: more than 15 reservations, and more than 128 KiB through one', async () => {
  await using anchor = await started({ anchor: true });
  const machines: Machine[] = [];
  try {
    const shop = new Deployment();
    for (let i = 0; i < 18; i++) machines.push(await started({ listen: [] }));
    const [alice, bob] = machines as [Machine, Machine];
    const members = Object.fromEntries(machines.map(({ peer }, i) => [i === 0 ? 'm0!' : `m${i}`, peer]));
    const version = shop.version(members, anchor.overlay.addresses());
    for (const { view, overlay } of machines) {
      view.hold(version);
      overlay.viewChanged();
    }
    await until(() => machines.every(({ overlay }) => overlay.reservations().length === 1), 'all have a reservation');
    const total = 4 * 1024 * 1024;
    const received = Promise.withResolvers<number>();
    bob.overlay.handleBytes('/moat/bytes/1', (channel) => received.resolve(countBytes(channel)), {
      audience: 'admitted',
    });
    const connection = await alice.overlay.connect(bob.peer, soon());
    assert.equal(connection.remote, null);
    const channel = await alice.overlay.openBytes(connection, '/moat/bytes/1', soon());
    let sent = 0;
    const write = (): void => {
      while (sent < total) {
        sent += 64 * 1024;
        if (!channel.write(new Uint8Array(64 * 1024))) return;
      }
      channel.end();
    };
    channel.onDrain = write;
    write();
    assert.equal(await received.promise, total);
  } finally {
    await Promise.all(machines.map(({ overlay }) => overlay.stop()));
  }
});

test('signals: a long-lived signal gathers no listeners', async () => {
  await using alice = await started();
  await using bob = await started();
  introduce(new Deployment().version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  bob.overlay.handle('/moat/echo/1', async (stream) => stream.write(await stream.read(soon()), soon()), {
    audience: 'admitted',
  });
  const long = new AbortController();
  const connection = await alice.overlay.connect(bob.peer, long.signal);
  const before = getEventListeners(connection.closed, 'abort').length;
  for (let i = 0; i < 30; i++) {
    const stream = await alice.overlay.open(connection, '/moat/echo/1', long.signal);
    await stream.write(Buffer.from('x'), long.signal);
    await stream.read(long.signal);
    await stream.close();
    await alice.overlay.connect(bob.peer, long.signal);
  }
  assert.equal(getEventListeners(long.signal, 'abort').length, 0);
  assert.ok(getEventListeners(connection.closed, 'abort').length <= before);
});

test('streams: no more of a protocol than its handler allows', async () => {
  await using alice = await started();
  await using bob = await started();
  introduce(new Deployment().version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  bob.overlay.handle('/moat/held/1', () => new Promise(() => undefined), { audience: 'admitted', maxStreams: 2 });
  const connection = await alice.overlay.connect(bob.peer, soon());
  const streams = [];
  for (let i = 0; i < 3; i++) streams.push(await alice.overlay.open(connection, '/moat/held/1', soon()));
  await assert.rejects(streams[2]?.read(soon()) as Promise<unknown>, (error) => isMoatError(error, 'STREAM_ENDED'));
});

async function countBytes(channel: ByteChannel): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let bytes = 0;
  channel.onData = (chunk) => (bytes += chunk.length);
  channel.onEnd = () => resolve(bytes);
  channel.onClose = () => resolve(bytes);
  return promise;
}

/** Bytes of the first answer on a raw stream; rejects when it is reset. */
async function firstBytes(
  from: Machine,
  connection: Parameters<Machine['overlay']['open']>[0],
  protocol: string,
  send?: Uint8Array,
): Promise<number> {
  const channel = await from.overlay.openBytes(connection, protocol, soon());
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  channel.onData = (chunk) => resolve(chunk.length);
  channel.onClose = (error) => reject(error ?? new Error('closed'));
  if (send !== undefined) channel.write(send);
  try {
    return await promise;
  } finally {
    channel.destroy();
  }
}

/** Passes bytes on until it is told to go on holding the sockets but pass nothing. */
async function freezingProxy(
  target: number,
): Promise<AsyncDisposable & { readonly port: number; freeze(): void; bytes(): number }> {
  const sockets: net.Socket[] = [];
  let bytes = 0;
  const server = net.createServer((socket) => {
    const onward = net.connect(target, '127.0.0.1');
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      sockets.push(from);
      from.on('error', () => to.destroy());
      from.on('data', (chunk: Buffer) => (bytes += chunk.length));
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    bytes: () => bytes,
    freeze: () => {
      for (const socket of sockets) socket.unpipe().pause();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
