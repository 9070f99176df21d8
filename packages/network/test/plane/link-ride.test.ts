import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { silentLogger, systemClock, type Clock, type LinkStream, type Links, type PeerId } from '@moat/core';
import { checkLeaks, createManualClock, wireguardInitiation } from '@moat/testkit';
import { LinkRide } from '../../src/plane/ride/link-ride.ts';
import { MemoryHub } from '../memory-links.ts';
import { DEPLOYMENT, PEERS, contract, machine, viewOf, type Machine } from '../shop.ts';
import { udp, type Udp } from './udp.ts';

const KEYS = ['A', 'B', 'C', 'D'].map((letter) => `${letter.repeat(42)}A=`);

/** The shop with WireGuard keys. */
function shop(changes: Parameters<typeof viewOf>[0] = {}): ReturnType<typeof viewOf> {
  const members = contract().members.map((member, i) => ({ ...member, wireguard: KEYS[i] ?? '' }));
  return viewOf({ network: { ipv4: '10.77.0.0/16', plane: 'auto' }, members, ...changes });
}

interface Rider extends AsyncDisposable {
  readonly ride: LinkRide;
  readonly wireguard: Udp;
  readonly machine: Machine;
  readonly wakes: number;
}

/** One member with a WireGuard, and the ride of one peer. */
async function rider(
  hub: MemoryHub,
  [self, peerId]: readonly [string, PeerId],
  peer: PeerId,
  { clock = systemClock, links = hub.links(peerId) }: { clock?: Clock; links?: Links } = {},
): Promise<Rider> {
  const wireguard = await udp();
  const ride = new LinkRide(
    { links, clock, logger: silentLogger },
    { deployment: DEPLOYMENT, peer, wireguardPort: wireguard.port, leads: peerId < peer },
  );
  let wakes = 0;
  ride.onWake = () => void (wakes += 1);
  await ride.start();
  const made = machine(hub, self, peerId, { takePackets: (stream: LinkStream) => ride.take(stream), clock });
  await made.network.update(shop());
  return {
    ride,
    wireguard,
    machine: made,
    get wakes() {
      return wakes;
    },
    async [Symbol.asyncDispose]() {
      await ride.close();
      await made.network.stop();
      await wireguard[Symbol.asyncDispose]();
    },
  };
}

const WEB = ['web-1', PEERS.web1] as const;
const DB = ['db-1', PEERS.db1] as const;

suite('packets over a link', () => {
  test('cross both ways and keep their borders; the ride wakes once', async () => {
    await using _ = checkLeaks();
    const hub = new MemoryHub();
    await using web = await rider(hub, WEB, PEERS.db1);
    await using db = await rider(hub, DB, PEERS.web1);
    assert.equal(web.ride.path, null);
    for (const text of ['one', 'two', 'three']) web.wireguard.send(text, web.ride.endpoint);
    await db.wireguard.until(3);
    assert.deepEqual(
      db.wireguard.received.map(({ packet }) => packet.toString()),
      ['one', 'two', 'three'],
    );
    // To WireGuard they come from the ride, where it answers.
    assert.deepEqual(db.wireguard.received[0]?.from, db.ride.endpoint);
    db.wireguard.send('answer', db.ride.endpoint);
    await web.wireguard.until(1);
    assert.deepEqual(web.wireguard.received[0], { packet: Buffer.from('answer'), from: web.ride.endpoint });
    assert.deepEqual([web.wakes, db.wakes], [1, 1]);
    assert.equal(web.ride.path, 'direct');
    assert.deepEqual(web.ride.counts, { sent: 3, sentBytes: 11, received: 1, receivedBytes: 6, dropped: 0 });
    // One stream serves both.
    assert.equal(hub.streams.length, 1);
  });

  test('packets from another port than WireGuard’s are not taken', async () => {
    const hub = new MemoryHub();
    await using web = await rider(hub, WEB, PEERS.db1);
    await using db = await rider(hub, DB, PEERS.web1);
    await using mallory = await udp();
    mallory.send('forged', web.ride.endpoint);
    web.wireguard.send('real', web.ride.endpoint);
    await db.wireguard.until(1);
    assert.deepEqual(
      db.wireguard.received.map(({ packet }) => packet.toString()),
      ['real'],
    );
    assert.equal(web.ride.counts.sent, 1);
  });

  test('a stream that ends is followed by another; at rest the next packet wakes', async () => {
    const hub = new MemoryHub();
    await using web = await rider(hub, WEB, PEERS.db1);
    await using db = await rider(hub, DB, PEERS.web1);
    web.wireguard.send('one', web.ride.endpoint);
    await db.wireguard.until(1);
    hub.streams[0]?.reset('LINK_CLOSED');
    await turns();
    web.wireguard.send('two', web.ride.endpoint);
    await db.wireguard.until(2);
    web.ride.rest();
    await turns();
    assert.equal(web.ride.path, null);
    assert.equal(web.wakes, 1);
    db.wireguard.send('three', db.ride.endpoint);
    await web.wireguard.until(1);
    assert.equal(web.wakes, 2);
    assert.equal(hub.streams.length, 3);
  });

  test('a minute without packets puts it to rest', async () => {
    const hub = new MemoryHub();
    const clock = createManualClock();
    await using web = await rider(hub, WEB, PEERS.db1, { clock });
    await using db = await rider(hub, DB, PEERS.web1);
    web.wireguard.send('one', web.ride.endpoint);
    await db.wireguard.until(1);
    clock.advance(59_000);
    assert.equal(web.ride.path, 'direct');
    clock.advance(1_000);
    await turns();
    assert.equal(web.ride.path, null);
    assert.equal(clock.pending, 0);
  });

  test('what is held waits, and goes when its time has come', async () => {
    const hub = new MemoryHub();
    const clock = createManualClock();
    await using web = await rider(hub, WEB, PEERS.db1, { clock });
    await using db = await rider(hub, DB, PEERS.web1);
    web.wireguard.send('one', web.ride.endpoint);
    await db.wireguard.until(1);
    web.ride.hold(100);
    web.wireguard.send('two', web.ride.endpoint);
    await until(() => web.ride.counts.sent === 2);
    db.wireguard.send('meanwhile', db.ride.endpoint);
    await web.wireguard.until(1);
    assert.equal(db.wireguard.received.length, 1);
    clock.advance(100);
    await db.wireguard.until(2);
    web.ride.hold(100);
    web.wireguard.send('three', web.ride.endpoint);
    await until(() => web.ride.counts.sent === 3);
    web.ride.hold(0);
    await db.wireguard.until(3);
    assert.equal(web.ride.counts.dropped, 0);
  });

  test('while no link stands the newest packets wait; a failure is waited out', async () => {
    const hub = new MemoryHub();
    const clock = createManualClock();
    await using web = await rider(hub, WEB, PEERS.db1, { clock });
    hub.silent.add(PEERS.db1);
    for (let i = 0; i < 100; i++) web.wireguard.send(`${i}`, web.ride.endpoint);
    await until(() => web.ride.counts.sent === 100);
    assert.equal(web.ride.counts.dropped, 36);
    clock.advance(10_000);
    assert.equal(web.ride.refusal, 'PEER_UNREACHABLE');
    hub.silent.clear();
    await using db = await rider(hub, DB, PEERS.web1);
    const connects = hub.connects.length;
    web.wireguard.send('too early', web.ride.endpoint);
    await until(() => web.ride.counts.sent === 101);
    assert.equal(hub.connects.length, connects);
    clock.advance(500);
    web.wireguard.send('now', web.ride.endpoint);
    await db.wireguard.until(1);
    assert.equal(db.wireguard.received[0]?.packet.toString(), 'now');
    await until(() => web.ride.refusal === undefined);
  });

  test('without credit the oldest packets are dropped, and the newest arrive', async () => {
    const hub = new MemoryHub();
    await using web = await rider(hub, WEB, PEERS.db1);
    let slow: LinkStream | undefined;
    const got: number[] = [];
    hub.join(PEERS.db1, (stream) => {
      slow = stream;
      stream.listen({
        onHead: () => undefined,
        onData: (chunk) => {
          for (let at = 0; at < chunk.length; at += 1002) got.push(Buffer.from(chunk).readUInt32BE(at + 2));
        },
        onEnd: () => undefined,
        onDrain: () => undefined,
        onClose: () => undefined,
      });
      stream.pause();
      stream.writeHead({ connected: true });
    });
    const packet = Buffer.alloc(1000);
    for (let i = 0; i < 600; i++) {
      packet.writeUInt32BE(i);
      web.wireguard.send(Buffer.from(packet), web.ride.endpoint);
      // The socket's own buffer is not what is tested.
      if (i % 50 === 49) await until(() => web.ride.counts.sent === i + 1);
    }
    const { dropped } = web.ride.counts;
    assert.ok(dropped > 200, `${dropped} dropped`);
    slow?.resume();
    await until(() => got.length === 600 - dropped);
    assert.equal(got.at(-1), 599);
    assert.deepEqual(
      got.slice(-64),
      Array.from({ length: 64 }, (_, i) => 536 + i),
    );
  });

  test('a peer that sends what is no packet loses its stream, and nothing else', async () => {
    const hub = new MemoryHub();
    await using web = await rider(hub, WEB, PEERS.db1);
    const link = await hub.links(PEERS.db1).connect(PEERS.web1, NEVER);
    const closed = Promise.withResolvers<string | undefined>();
    const stream = link.open({ deployment: DEPLOYMENT, service: '', kind: 'packets' });
    stream.listen({ ...QUIET, onClose: closed.resolve });
    stream.write(Buffer.from([0, 1, 7, 0, 0]));
    assert.equal(await closed.promise, 'PACKETS_INVALID');
    await web.wireguard.until(1);
    assert.deepEqual(web.wireguard.received[0]?.packet, Buffer.of(7));
    await using db = await rider(hub, DB, PEERS.web1);
    db.wireguard.send('fine', db.ride.endpoint);
    await web.wireguard.until(2);
  });
});

test('a peer that begins handshakes without end does not use up WireGuard’s limit for all that ride', async () => {
  const hub = new MemoryHub();
  const clock = createManualClock();
  await using web = await rider(hub, WEB, PEERS.db1, { clock });
  await using db = await rider(hub, DB, PEERS.web1);
  const key = KEYS[0] ?? '';
  for (let i = 0; i < 30; i++) db.wireguard.send(wireguardInitiation(key), db.ride.endpoint);
  db.wireguard.send('data', db.ride.endpoint);
  await web.wireguard.until(11);
  assert.equal(web.wireguard.received.at(-1)?.packet.toString(), 'data');
  assert.equal(web.ride.counts.dropped, 20);
  clock.advance(5000);
  db.wireguard.send(wireguardInitiation(key), db.ride.endpoint);
  await web.wireguard.until(12);
});

test('of two handshakes that cross one counts, and the next that the other begins', async () => {
  const hub = new MemoryHub();
  const clock = createManualClock();
  await using web = await rider(hub, WEB, PEERS.db1, { clock });
  await using db = await rider(hub, DB, PEERS.web1, { clock });
  const [leader, other] = PEERS.web1 < PEERS.db1 ? [web, db] : [db, web];
  const begin = (): Buffer => wireguardInitiation(KEYS[0] ?? '');
  // Both leave before either link stands.
  leader.wireguard.send(begin(), leader.ride.endpoint);
  other.wireguard.send(begin(), other.ride.endpoint);
  await other.wireguard.until(1);
  await until(() => leader.ride.counts.dropped === 1);
  assert.equal(leader.wireguard.received.length, 0);
  const answer = Buffer.concat([Buffer.of(2, 0, 0, 0), Buffer.alloc(88)]);
  other.wireguard.send(answer, other.ride.endpoint);
  other.wireguard.send(begin(), other.ride.endpoint);
  await leader.wireguard.until(2);
  // One that was never answered keeps nobody from beginning.
  leader.wireguard.send(begin(), leader.ride.endpoint);
  await other.wireguard.until(2);
  clock.advance(1_000);
  other.wireguard.send(begin(), other.ride.endpoint);
  await leader.wireguard.until(3);
});

suite('who may send packets', () => {
  const cases: readonly (readonly [string, PeerId, Parameters<typeof viewOf>[0], string | undefined])[] = [
    ['a member with a grant', PEERS.web1, {}, undefined],
    ['a member that we have a grant to', PEERS.web2, {}, undefined],
    ['a member without a grant either way', PEERS.db2, {}, 'GRANT_DENIED'],
    ['a stranger', PEERS.stranger, {}, 'GRANT_DENIED'],
    ['a gateway', PEERS.gateway, {}, 'GRANT_DENIED'],
    ['anybody, once the deployment ended', PEERS.web1, { state: 'ended' }, 'DEPLOYMENT_ENDED'],
    ['a member of a rootless network', PEERS.web1, { network: contract().network }, 'WIREGUARD_MISSING'],
    ['a member without a key', PEERS.web1, { members: contract().members }, 'WIREGUARD_MISSING'],
    ['a member whose grants are gone', PEERS.web1, { access: [] }, 'GRANT_DENIED'],
    [
      'a member whose grant is over',
      PEERS.web1,
      { access: [{ from: ['tag:web'], to: ['db'], expires: '2026-01-01T00:00:00Z' }] },
      'GRANT_DENIED',
    ],
  ];
  for (const [name, peer, changes, code] of cases) {
    test(`${name}: ${code ?? 'yes'}`, async () => {
      const hub = new MemoryHub();
      await using db = await rider(hub, DB, PEERS.web1);
      await db.machine.network.update(shop(changes));
      const link = await hub.links(peer).connect(PEERS.db1, NEVER);
      const ended = Promise.withResolvers<string | undefined>();
      const stream = link.open({ deployment: DEPLOYMENT, service: '', kind: 'packets' });
      stream.listen({ ...QUIET, onHead: () => ended.resolve(undefined), onClose: ended.resolve });
      assert.equal(await ended.promise, code);
    });
  }

  test('a new contract ends what it does not allow', async () => {
    const hub = new MemoryHub();
    await using web = await rider(hub, WEB, PEERS.db1);
    await using db = await rider(hub, DB, PEERS.web1);
    web.wireguard.send('one', web.ride.endpoint);
    await db.wireguard.until(1);
    await db.machine.network.update(shop({ access: [] }));
    await until(() => web.ride.path === null);
    web.wireguard.send('two', web.ride.endpoint);
    await until(() => web.ride.refusal === 'GRANT_DENIED');
    assert.equal(db.wireguard.received.length, 1);
  });

  test('a member whose WireGuard is not up takes none', async () => {
    const hub = new MemoryHub();
    await using web = await rider(hub, WEB, PEERS.db1);
    await using db = machine(hub, 'db-1', PEERS.db1);
    await db.network.update(shop());
    web.wireguard.send('one', web.ride.endpoint);
    await until(() => web.ride.refusal === 'PACKETS_REFUSED');
  });
});

const NEVER = new AbortController().signal;
const QUIET = {
  onHead: (): void => undefined,
  onData: (): void => undefined,
  onEnd: (): void => undefined,
  onDrain: (): void => undefined,
  onClose: (): void => undefined,
};

async function turns(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}
