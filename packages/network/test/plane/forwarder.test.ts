import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import {
  errorCode,
  silentLogger,
  systemClock,
  type Clock,
  type ControlPlane,
  type PeerConnection,
  type PeerId,
} from '@moat/core';
import type { Contract, ContractView } from '@moat/contract';
import { initiationTestOf } from '@moat/identity';
import {
  createManualClock,
  createMemoryNetwork,
  wireguardInitiation,
  type MemoryConnectOptions,
  type MemoryNetwork,
} from '@moat/testkit';
import fc from 'fast-check';
import { ForwardDesk } from '../../src/plane/forward/forward-desk.ts';
import {
  decodeForwardAnswer,
  decodeForwardRequest,
  decodeKnown,
  encodeForward,
} from '../../src/plane/forward/forward-messages.ts';
import { Forwarder, type ForwarderOptions } from '../../src/plane/forward/forwarder.ts';
import { openForward } from '../../src/plane/forward/open-forward.ts';
import type { ForwardSession } from '../../src/plane/paths/path-ports.ts';
import { DEPLOYMENT, PEERS, contract, viewOf } from '../shop.ts';
import { udp, type Udp } from './udp.ts';

const soon = (): AbortSignal => AbortSignal.timeout(10_000);
const KEYS = ['A', 'B', 'C', 'D'].map((letter) => `${letter.repeat(42)}A=`);
const { web1, web2, db1, db2 } = PEERS;

function shop(changes: Partial<Contract> = {}): ContractView {
  const members = contract().members.map((member, i) => ({ ...member, wireguard: KEYS[i] ?? '' }));
  return viewOf({ network: { ipv4: '10.77.0.0/16', plane: 'auto' }, members, ...changes });
}

interface World extends Disposable {
  readonly forwarder: Forwarder;
  readonly network: MemoryNetwork;
  /** The contract at the forwarder. */
  view: ContractView | undefined;
  connect(from: PeerId, options?: MemoryConnectOptions): PeerConnection;
  ask(from: PeerId, peer: PeerId, connection?: PeerConnection): Promise<ForwardSession>;
}

/** web-2 forwards for web-1 and db-1. */
function world({ clock = systemClock, ...options }: ForwarderOptions & { readonly clock?: Clock } = {}): World {
  const network = createMemoryNetwork();
  const planes = new Map<PeerId, ControlPlane>();
  for (const peer of [web1, web2, db1, db2, PEERS.stranger]) planes.set(peer, network.join(peer));
  const forwarder = new Forwarder(
    {
      self: web2,
      clock,
      logger: silentLogger,
      initiations: initiationTestOf,
      viewOf: (deployment) => (deployment === DEPLOYMENT ? made.view : undefined),
    },
    options,
  );
  const desk = new ForwardDesk({
    control: planes.get(web2) as ControlPlane,
    clock,
    logger: silentLogger,
    forwarder,
    views: () => (made.view === undefined ? [] : [made.view]),
  });
  desk.start();
  const made: World = {
    forwarder,
    network,
    view: shop(),
    connect: (from, more) => network.connect(from, web2, more),
    ask: (from, peer, connection = network.connect(from, web2)) => {
      const control = planes.get(from) as ControlPlane;
      return openForward({ control, clock: systemClock }, connection, { deployment: DEPLOYMENT, peer }, soon());
    },
    [Symbol.dispose]: () => desk.stop(),
  };
  return made;
}

interface End extends AsyncDisposable {
  readonly session: ForwardSession;
  readonly socket: Udp;
}

/** Asks, and tells where it is. */
async function joined(made: World, from: PeerId, peer: PeerId): Promise<End> {
  const session = await made.ask(from, peer);
  const socket = await udp();
  socket.send(wireguardInitiation(session.key), session.endpoint);
  assert.deepEqual(await session.learned, { host: '127.0.0.1', port: socket.port });
  return { session, socket, [Symbol.asyncDispose]: () => socket[Symbol.asyncDispose]() };
}

function texts({ received }: Udp): string[] {
  return received.map(({ packet }) => packet.toString());
}

suite('a forwarder', () => {
  test('passes packets on between two members, each way as they are', async () => {
    using made = world();
    await using web = await joined(made, web1, db1);
    await using db = await joined(made, db1, web1);
    assert.deepEqual(web.session.endpoint, db.session.endpoint);
    web.socket.send('from web', web.session.endpoint);
    await db.socket.until(1);
    db.socket.send('from db', db.session.endpoint);
    await web.socket.until(1);
    assert.deepEqual([texts(web.socket), texts(db.socket)], [['from db'], ['from web']]);
    assert.deepEqual(web.socket.received[0]?.from, web.session.endpoint);
    const [pair] = made.forwarder.pairs();
    assert.deepEqual([pair?.packets, pair?.bytes, pair?.dropped], [2, 15, 0]);
  });

  test('sends nothing to who has not told where it is, and nothing from anywhere else', async () => {
    using made = world();
    await using web = await joined(made, web1, db1);
    await using mallory = await udp();
    web.socket.send('into the void', web.session.endpoint);
    for (const packet of ['junk', wireguardInitiation(KEYS[2] ?? ''), Buffer.alloc(148, 1), '']) {
      mallory.send(packet, web.session.endpoint);
    }
    await using db = await joined(made, db1, web1);
    mallory.send('still junk', web.session.endpoint);
    web.socket.send('now', web.session.endpoint);
    await db.socket.until(1);
    assert.deepEqual(texts(db.socket), ['now']);
    assert.deepEqual([...mallory.received, ...web.socket.received], []);
  });

  test('moves an address only by a new handshake for that side’s own key', async () => {
    using made = world();
    const session = await made.ask(web1, db1);
    await using socket = await udp();
    const first = wireguardInitiation(session.key);
    socket.send(first, session.endpoint);
    await session.learned;
    await using db = await joined(made, db1, web1);
    await using mallory = await udp();
    // A handshake that was seen on the way, one for a key that every member knows, and one for the other side's key.
    for (const packet of [first, wireguardInitiation(KEYS[0] ?? ''), wireguardInitiation(KEYS[2] ?? '')]) {
      mallory.send(packet, session.endpoint);
    }
    mallory.send('forged', session.endpoint);
    db.socket.send('for web', session.endpoint);
    await socket.until(1);
    assert.deepEqual([mallory.received, texts(db.socket)], [[], []]);

    // The member itself moves, and its old address is nobody's.
    await using moved = await udp();
    moved.send(wireguardInitiation(session.key), session.endpoint);
    moved.send('here I am', session.endpoint);
    await db.socket.until(1);
    socket.send('too late', session.endpoint);
    db.socket.send('there', session.endpoint);
    await moved.until(1);
    assert.deepEqual(texts(moved), ['there']);
    assert.deepEqual(texts(db.socket), ['here I am']);
  });

  test('a session outlives the connection that asked for it; asked again it has the same port and another key', async () => {
    using made = world();
    await using web = await joined(made, web1, db1);
    await using db = await joined(made, db1, web1);
    made.network.disconnect(web1, web2);
    await aborted(web.session.closed);
    web.socket.send('still', web.session.endpoint);
    await db.socket.until(1);
    const again = await made.ask(web1, db1);
    assert.deepEqual(again.endpoint, web.session.endpoint);
    assert.notEqual(again.key, web.session.key);
    await using other = await udp();
    other.send(wireguardInitiation(web.session.key), again.endpoint);
    db.socket.send('to the old address', again.endpoint);
    await web.socket.until(1);
    other.send(wireguardInitiation(again.key), again.endpoint);
    assert.deepEqual(await again.learned, { host: '127.0.0.1', port: other.port });
  });

  test('ends when both sides left, and its port with it', async () => {
    using made = world();
    await using web = await joined(made, web1, db1);
    await using db = await joined(made, db1, web1);
    web.session.close();
    assert.equal(errorCode(web.session.closed.reason), 'FORWARD_OVER');
    db.socket.send('one more', db.session.endpoint);
    await web.socket.until(1);
    db.session.close();
    await until(() => made.forwarder.pairs().length === 0);
  });

  test('ends three minutes after its last packet', async () => {
    const clock = createManualClock();
    using made = world({ clock });
    await using web = await joined(made, web1, db1);
    await using db = await joined(made, db1, web1);
    clock.advance(170_000);
    web.socket.send('awake', web.session.endpoint);
    await db.socket.until(1);
    clock.advance(170_000);
    assert.equal(made.forwarder.pairs().length, 1);
    clock.advance(30_000);
    assert.equal(made.forwarder.pairs().length, 0);
    await Promise.all([aborted(web.session.closed), aborted(db.session.closed)]);
    // What is left is the desk's next offer.
    assert.equal(clock.pending, 1);
  });

  test('ends at once when the contract does not let the two meet any more', async () => {
    using made = world();
    await using web = await joined(made, web1, db1);
    await using db = await joined(made, db1, web1);
    made.forwarder.review();
    assert.equal(made.forwarder.pairs().length, 1);
    made.view = shop({ members: shop().contract.members.filter(({ name }) => name !== 'db-1') });
    made.forwarder.review();
    assert.equal(made.forwarder.pairs().length, 0);
    await Promise.all([aborted(web.session.closed), aborted(db.session.closed)]);
    await assert.rejects(made.ask(web1, db1), { code: 'FORWARD_REFUSED' });
  });

  test('an address that is silent while it is sent to gets small packets now and then', async () => {
    const clock = createManualClock();
    using made = world({ clock });
    await using web = await joined(made, web1, db1);
    await using db = await joined(made, db1, web1);
    const big = Buffer.alloc(1000);
    web.socket.send(big, web.session.endpoint);
    await db.socket.until(1);
    clock.advance(31_000);
    web.socket.send(big, web.session.endpoint);
    web.socket.send('knock', web.session.endpoint);
    web.socket.send('knock too soon', web.session.endpoint);
    await db.socket.until(2);
    clock.advance(1_000);
    web.socket.send('knock again', web.session.endpoint);
    await db.socket.until(3);
    assert.deepEqual(texts(db.socket).slice(1), ['knock', 'knock again']);
    db.socket.send('back', db.session.endpoint);
    await web.socket.until(1);
    web.socket.send(big, web.session.endpoint);
    await db.socket.until(4);
  });

  test('who sends faster than its budget loses packets, and packets that are too big', async () => {
    const clock = createManualClock();
    using made = world({ clock, limits: { bytesPerSecondPerPeer: 8000 } });
    await using web = await joined(made, web1, db1);
    await using db = await joined(made, db1, web1);
    for (let i = 0; i < 5; i++) web.socket.send(Buffer.alloc(1000, i), web.session.endpoint);
    await until(() => made.forwarder.pairs()[0]?.dropped === 3);
    await db.socket.until(2);
    clock.advance(125);
    web.socket.send(Buffer.alloc(1601), web.session.endpoint);
    web.socket.send('later', web.session.endpoint);
    await db.socket.until(3);
    assert.equal(made.forwarder.pairs()[0]?.dropped, 4);
    assert.equal(texts(db.socket).at(-1), 'later');
    using all = world({ clock, limits: { bytesPerSecond: 4000 } });
    await using one = await joined(all, web1, db1);
    await using other = await joined(all, db1, web1);
    for (const end of [one, other, one]) end.socket.send(Buffer.alloc(900), end.session.endpoint);
    await until(() => all.forwarder.pairs()[0]?.dropped === 2);
    assert.equal(all.forwarder.pairs()[0]?.packets, 1);
  });
});

suite('whom a forwarder serves', () => {
  test('members that may meet, and nobody else', async () => {
    using made = world();
    const refused = { code: 'FORWARD_REFUSED' };
    await assert.rejects(made.ask(PEERS.stranger, db1), refused);
    await assert.rejects(made.ask(web1, PEERS.stranger), refused);
    await assert.rejects(made.ask(db2, db1), refused);
    await assert.rejects(made.ask(web1, web1), refused);
    await assert.rejects(made.ask(web1, web2), refused);
    await assert.rejects(made.ask(web1, db1, made.connect(web1, { admitted: false })), {
      code: 'PROTOCOL_UNSUPPORTED',
    });
    for (const changes of [{ state: 'ended' }, { access: [] }, { members: contract().members }] as const) {
      made.view = shop(changes);
      await assert.rejects(made.ask(web1, db1), refused);
    }
    made.view = undefined;
    await assert.rejects(made.ask(web1, db1), refused);
    assert.deepEqual(made.forwarder.pairs(), []);
    made.view = shop();
    await made.ask(web1, db1);
  });

  test('over a direct connection, which is waited for where an anchor relays', async () => {
    using made = world();
    const relayed = made.connect(web1, { relayed: true });
    await assert.rejects(made.ask(web1, db1, relayed), { code: 'FORWARD_REFUSED' });
    const session = made.ask(web1, db1, relayed);
    made.connect(web1);
    assert.equal((await session).endpoint.host, '127.0.0.1');
  });

  test('one asker’s pairs, all pairs, and asks in a row have a bound', async () => {
    using one = world({ limits: { pairsPerPeer: 1 } });
    await one.ask(web1, db1);
    await assert.rejects(one.ask(web1, db2), { code: 'FORWARD_BUSY' });
    await one.ask(db1, web1);
    using all = world({ limits: { pairs: 1 } });
    await all.ask(web1, db1);
    await assert.rejects(all.ask(web1, db2), { code: 'FORWARD_BUSY' });
    using rate = world();
    for (let i = 0; i < 20; i++) await rate.ask(web1, db1);
    await assert.rejects(rate.ask(web1, db1), { code: 'FORWARD_BUSY' });
    await rate.ask(db1, web1);
    assert.equal(rate.forwarder.pairs().length, 1);
  });

  test('pairs get their ports from a range; a range that is used up says so', async () => {
    await using taken = await udp();
    const range = { first: taken.port, last: taken.port };
    using full = world({ ports: range });
    await assert.rejects(full.ask(web1, db1), { code: 'FORWARD_BUSY' });
    assert.deepEqual(full.forwarder.pairs(), []);
    const free = { first: taken.port, last: taken.port + 8 };
    using made = world({ ports: free });
    const { endpoint } = await made.ask(web1, db1);
    assert.ok(endpoint.port > free.first && endpoint.port <= free.last);
  });

  test('both sides may ask at the same moment', async () => {
    using made = world();
    const sessions = await Promise.all([made.ask(web1, db1), made.ask(db1, web1)]);
    assert.deepEqual(sessions[0].endpoint, sessions[1].endpoint);
    assert.equal(made.forwarder.pairs().length, 1);
  });
});

test('messages about forwarding that are none end in a coded error', () => {
  const pair = { deployment: DEPLOYMENT, peer: db1 };
  assert.deepEqual(decodeForwardRequest(encodeForward({ type: 'ask', ...pair })), { type: 'ask', ...pair });
  const bad = [
    {},
    { type: 'ask' },
    { type: 'ask', ...pair, more: 1 },
    { type: 'ask', deployment: 'x', peer: db1 },
    [],
    null,
  ];
  for (const each of bad)
    assert.throws(() => decodeForwardRequest(Buffer.from(JSON.stringify(each))), { code: 'FORWARD_INVALID' });
  const answers = [
    { type: 'session', port: 0, key: KEYS[0] },
    { type: 'learned', host: 'example.com', port: 1 },
  ];
  for (const each of answers) {
    assert.throws(() => decodeForwardAnswer(Buffer.from(JSON.stringify(each))), { code: 'FORWARD_INVALID' });
  }
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc.json().map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(bytes, (random) => {
      assert.throws(() => decodeForwardRequest(random), { code: 'FORWARD_INVALID' });
      assert.throws(() => decodeForwardAnswer(random), { code: 'FORWARD_INVALID' });
      assert.throws(() => decodeKnown(random), { code: 'FORWARD_INVALID' });
    }),
  );
});

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
