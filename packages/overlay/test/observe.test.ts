import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isMoatError, type Endpoint, type Observation, type PeerConnection } from '@moat/core';
import { createManualClock, wireguardInitiation } from '@moat/testkit';
import fc from 'fast-check';
import { AwaitedKeys, type AwaitedKey } from '../src/awaited-keys.ts';
import { decodeObserveRequest } from '../src/observe.ts';
import { Deployment, introduce, soon, started, until, type Machine } from './world.fixture.ts';

const newKey = (): string => randomBytes(32).toString('base64');

interface Udp extends AsyncDisposable {
  readonly socket: Socket;
  readonly port: number;
  readonly received: Buffer[];
  send(packet: Uint8Array, to: Endpoint): void;
}

async function udp(port = 0): Promise<Udp> {
  const socket = createSocket('udp4');
  const received: Buffer[] = [];
  socket.on('message', (packet) => void received.push(packet));
  socket.bind(port, '127.0.0.1');
  await once(socket, 'listening');
  return {
    socket,
    port: socket.address().port,
    received,
    send: (packet, to) => socket.send(packet, to.port, to.host),
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, 'close');
    },
  };
}

function dial(from: Machine, to: Machine): Promise<PeerConnection> {
  return from.overlay.dial(to.overlay.addresses(), soon());
}

test('an anchor tells a stranger where its handshakes come from, by the port it listens on', async () => {
  await using anchor = await started({ anchor: true });
  await using alice = await started({ listen: [] });
  await using wireguard = await udp();
  const connection = await dial(alice, anchor);
  const key = newKey();
  const { listening, observed } = await alice.overlay.observe(connection, key, soon());
  assert.deepEqual(listening, connection.remote);
  wireguard.send(wireguardInitiation(key), listening);
  assert.deepEqual(await observed, { host: '127.0.0.1', port: wireguard.port });
});

test('only a handshake for the key counts, and nothing is answered over UDP', async () => {
  await using anchor = await started({ anchor: true });
  await using alice = await started({ listen: [] });
  await using wireguard = await udp();
  await using mallory = await udp();
  const key = newKey();
  const { listening, observed } = await alice.overlay.observe(await dial(alice, anchor), key, soon());
  const wrong = wireguardInitiation(key);
  wrong[50] = (wrong[50] ?? 0) ^ 1;
  const junk = [wrong, wireguardInitiation(newKey()), randomBytes(148), wireguardInitiation(key).subarray(1)];
  for (const packet of [...junk, Buffer.alloc(0), randomBytes(1400)]) mallory.send(packet, listening);
  // Loopback keeps the order of one sender; the right one is sent by the same socket, last.
  const right = wireguardInitiation(key);
  mallory.send(right, listening);
  assert.deepEqual(await observed, { host: '127.0.0.1', port: mallory.port });

  // The same packet again, from elsewhere, moves nobody.
  const second = newKey();
  const again = await alice.overlay.observe(await dial(alice, anchor), second, soon());
  mallory.send(right, listening);
  wireguard.send(wireguardInitiation(second), again.listening);
  assert.deepEqual(await again.observed, { host: '127.0.0.1', port: wireguard.port });
  assert.deepEqual([...wireguard.received, ...mallory.received], []);
});

test('an anchor that saw nothing says so in five seconds', async () => {
  const clock = createManualClock();
  await using anchor = await started({ anchor: true, clock });
  await using alice = await started({ listen: [] });
  const { observed } = await alice.overlay.observe(await dial(alice, anchor), newKey(), soon());
  // The answer about the port is on its way before the anchor begins to wait.
  const waiting = setInterval(() => clock.advance(1000), 20);
  await assert.rejects(observed, { code: 'OBSERVE_SILENT' });
  clearInterval(waiting);
});

test('a fifth key of one machine is refused, and the others are still waited for', async () => {
  await using anchor = await started({ anchor: true });
  await using alice = await started({ listen: [] });
  await using bob = await started({ listen: [] });
  await using wireguard = await udp();
  const [one, two] = [await dial(alice, anchor), await dial(bob, anchor)];
  const key = newKey();
  const { listening, observed } = await alice.overlay.observe(one, key, soon());
  for (let i = 0; i < 3; i++) await alice.overlay.observe(one, newKey(), soon());
  await assert.rejects(alice.overlay.observe(one, newKey(), soon()), { code: 'OBSERVE_BUSY' });
  await bob.overlay.observe(two, newKey(), soon());
  wireguard.send(wireguardInitiation(key), listening);
  assert.equal((await observed).port, wireguard.port);
});

test('an anchor whose UDP port is taken says so, and lets machines meet as before', async () => {
  await using taken = await udp();
  await using anchor = await started({ anchor: true, listen: [`/ip4/127.0.0.1/tcp/${taken.port}`] });
  await using alice = await started({ listen: [] });
  const connection = await dial(alice, anchor);
  await assert.rejects(alice.overlay.observe(connection, newKey(), soon()), { code: 'OBSERVE_UNAVAILABLE' });
  introduce(new Deployment().version({ 'alice!': alice.peer }, anchor.overlay.addresses()), alice);
  await until(() => alice.overlay.reservations().length === 1, 'a place at the anchor');
});

test('who is no anchor observes nothing', async () => {
  await using bob = await started({});
  await using alice = await started({ listen: [] });
  await assert.rejects(alice.overlay.observe(await dial(alice, bob), newKey(), soon()), {
    code: 'PROTOCOL_UNSUPPORTED',
  });
});

test('an anchor whose asker is gone waits no longer', async () => {
  await using anchor = await started({ anchor: true });
  await using alice = await started({ listen: [] });
  const connection = await dial(alice, anchor);
  for (let i = 0; i < 4; i++) await alice.overlay.observe(connection, newKey(), soon());
  alice.overlay.close(connection, 'the test wants it');
  await using wireguard = await udp();
  const key = newKey();
  const { listening, observed } = await askUntilFree(alice, anchor, key);
  wireguard.send(wireguardInitiation(key), listening);
  assert.equal((await observed).port, wireguard.port);
});

/** The anchor hears of a closed connection a little later. */
async function askUntilFree(from: Machine, anchor: Machine, key: string): Promise<Observation> {
  const signal = soon();
  for (;;) {
    try {
      return await from.overlay.observe(await dial(from, anchor), key, signal);
    } catch (error) {
      if (!isMoatError(error, 'OBSERVE_BUSY') || signal.aborted) throw error;
    }
  }
}

test('floods do not hinder those who wait at another address', () => {
  const clock = createManualClock();
  const awaited = new AwaitedKeys(clock);
  let tests = 0;
  const seen: Endpoint[] = [];
  const wait = (origin: string, peer: string, mark: number): boolean => {
    const fits: AwaitedKey['fits'] = (packet) => {
      tests += 1;
      return packet[0] === mark ? 'fits' : undefined;
    };
    return awaited.add({ peer, origin, fits, onSeen: (from) => void seen.push(from) });
  };
  // One address gets 16 keys, one PeerId 4, all together 256.
  let taken = 0;
  for (let i = 0; i < 40; i++) if (wait('203.0.113.1', `peer-${Math.floor(i / 8)}`, 1)) taken += 1;
  assert.equal(taken, 16);
  assert.ok(wait('198.51.100.7', 'alice', 2));
  for (let i = 0; i < 400; i++) if (wait(`10.0.${Math.floor(i / 250)}.${i % 250}`, `other-${i}`, 1)) taken += 1;
  assert.equal(taken, 255);
  assert.equal(awaited.size, 256);

  for (let i = 0; i < 100_000; i++) awaited.take(Uint8Array.of(9), { host: '192.0.2.1', port: i % 65_535 });
  for (let i = 0; i < 100_000; i++) awaited.take(Uint8Array.of(9), { host: '203.0.113.1', port: i % 65_535 });
  assert.ok(tests <= 1024 + 256, `${tests} tests in one second`);
  awaited.take(Uint8Array.of(2), { host: '198.51.100.7', port: 1 });
  assert.deepEqual(seen, [{ host: '198.51.100.7', port: 1 }]);
  // Once only.
  awaited.take(Uint8Array.of(2), { host: '198.51.100.7', port: 2 });
  assert.equal(seen.length, 1);
  // Whose UDP leaves by another address is found too, once the flood is over.
  clock.advance(1000);
  assert.ok(wait('198.51.100.8', 'carol', 3));
  awaited.take(Uint8Array.of(3), { host: '198.51.100.9', port: 3 });
  assert.deepEqual(seen[1], { host: '198.51.100.9', port: 3 });
});

test('a request that is none ends in a coded error', () => {
  const key = newKey();
  assert.deepEqual(decodeObserveRequest(Buffer.from(JSON.stringify({ key }))), { key });
  for (const bad of [{ key: key.slice(1) }, { key: `${key.slice(0, 42)}/=` }, { key, more: 1 }, {}, null, [key]]) {
    assert.throws(() => decodeObserveRequest(Buffer.from(JSON.stringify(bad))), { code: 'MESSAGE_INVALID' });
  }
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        assert.throws(() => decodeObserveRequest(bytes), { code: 'MESSAGE_INVALID' });
      },
    ),
  );
});
