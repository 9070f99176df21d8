/** Links that go on over other paths: nothing lost, nothing twice, in order, and only for those whose link it is. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { isMoatError, silentLogger, systemClock, type Link } from '@moat/core';
import { checkLeaks, createChannelPair, createManualClock } from '@moat/testkit';

import { Births } from '../src/births.ts';
import { decodeGreeting, encodeGreeting, readGreeting, type Greeting } from '../src/greeting.ts';
import { Roster } from '../src/roster.ts';
import { ALICE, BOB, LOOPBACK, createMachines } from './linked.ts';
import { createMovingPair } from './moving.ts';
import { Recorder, echo, turns } from './recorder.ts';

const tcp = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: 'db', kind: 'tcp' } as const;
const soon = (): AbortSignal => AbortSignal.timeout(20_000);

/** Sends `bytes` and reads them back; resolves to whether both directions were whole. */
async function roundTrip(link: Link, bytes: number): Promise<boolean> {
  const sent = createHash('sha256');
  const got = createHash('sha256');
  const client = new Recorder(link.open(tcp));
  client.onPiece = (chunk) => got.update(chunk);
  for (let at = 0; at < bytes;) {
    const chunk = randomBytes(Math.min(bytes - at, 1 + Math.floor(Math.random() * 50_000)));
    sent.update(chunk);
    at += chunk.length;
    if (!(await client.send(chunk))) break;
  }
  client.stream.end();
  const code = await client.closed;
  return code === undefined && client.bytes === bytes && sent.digest('hex') === got.digest('hex');
}

describe('a link that moves', () => {
  test('property: any cuts and moves, by either side or both at once, change no stream', async () => {
    const step = fc.record({
      turns: fc.integer({ min: 0, max: 12 }),
      by: fc.constantFrom('dialer', 'acceptor', 'both'),
      cut: fc.constantFrom('none', 'reset', 'vanish', 'late'),
      pieceBytes: fc.constantFrom(undefined, 1000, 65_000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const pair = createMovingPair();
        // The dialer has heard the acceptor once: before that nothing could go on.
        await pair.dialer.session.ping(soon());
        const done = Promise.all([
          roundTrip(pair.dialer.session, 300_000),
          roundTrip(pair.dialer.session, 2_000_000),
          roundTrip(pair.acceptor.session, 700_000),
        ]);
        for (const { turns: count, by, cut, pieceBytes } of steps) {
          await turns(count);
          const old = pair.paths.at(-1);
          if (cut === 'reset') old?.a.destroy(new Error('cut'));
          if (cut === 'vanish') old?.sever();
          const sides = by === 'both' ? (['dialer', 'acceptor'] as const) : [by];
          const moves = sides.map((side) => pair.move(side, pieceBytes));
          // The new path breaks before it stands.
          if (cut === 'late') pair.paths.at(-1)?.b.destroy(new Error('cut'));
          await Promise.all(moves);
        }
        for (let i = 0; !(await pair.move('dialer')); i++) assert.ok(i < 10, 'no path stands any more');
        const results = await done;
        pair.dialer.session.close('TEST_OVER');
        assert.deepEqual(results, [true, true, true]);
      }),
      { numRuns: process.env['MOAT_TEST'] === 'full' ? 300 : 40 },
    );
  });

  test('keeps no more than the window, and gives it back as it is read', async () => {
    const pair = createMovingPair();
    assert.equal(await roundTrip(pair.dialer.session, 8 * 2 ** 20), true);
    pair.dialer.session.close('TEST_OVER');
  });

  test('ends with LINK_LOST after 30 s without a path', async () => {
    const clock = createManualClock();
    const pair = createMovingPair(clock);
    const client = new Recorder(pair.dialer.session.open(tcp));
    await client.head;
    pair.paths[0]?.a.destroy(new Error('cut'));
    await turns(3);
    assert.equal(pair.losses.dialer, 1);
    assert.equal(pair.dialer.session.usable, false);
    assert.throws(() => pair.dialer.session.open(tcp), { code: 'LINK_CLOSED' });
    clock.advance(29_999);
    assert.equal(pair.dialer.session.closed.aborted, false);
    clock.advance(1);
    assert.equal(await client.closed, 'LINK_LOST');
    const { closed } = pair.acceptor.session;
    if (!closed.aborted) await once(closed, 'abort');
    assert.ok(isMoatError(closed.reason, 'LINK_LOST'));
  });

  test('whose path does not answer is suspect after 3 s and without a path after 6', async () => {
    const clock = createManualClock();
    const pair = createMovingPair(clock);
    const served: Recorder[] = [];
    pair.accept = (stream) => {
      served.push(new Recorder(stream));
      stream.writeHead({ connected: true });
      stream.write(Buffer.from('a download'));
    };
    const client = new Recorder(pair.dialer.session.open(tcp));
    await client.head;
    clock.advance(1000);
    pair.paths[0]?.sever();
    // The dialer only receives: it notices all the same.
    for (let second = 0; second < 3; second++) clock.advance(1000);
    assert.equal(pair.dialer.session.suspect, true);
    assert.equal(pair.losses.dialer, 0);
    for (let second = 0; second < 3; second++) clock.advance(1000);
    assert.equal(pair.losses.dialer, 1);
    assert.equal(await pair.move('dialer'), true);
    served[0]?.stream.write(Buffer.from(' goes on'));
    served[0]?.stream.end();
    client.stream.end();
    assert.equal(await client.closed, undefined);
    assert.equal(client.text, 'a download goes on');
  });

  test('a peer that says it has more than was sent, or less than it said before, ends the link', async () => {
    for (const received of [2 ** 40, 0]) {
      const pair = createMovingPair();
      assert.equal(await roundTrip(pair.dialer.session, 3_000_000), true);
      await turns(5);
      const { a, b } = createChannelPair();
      b.onData = () => undefined;
      pair.dialer.channel.take(a, received);
      if (!pair.dialer.session.closed.aborted) await once(pair.dialer.session.closed, 'abort');
      assert.ok(isMoatError(pair.dialer.session.closed.reason, 'FRAME_INVALID'));
    }
  });

  test('a peer that reads and acknowledges nothing ends the link', async () => {
    const pair = createMovingPair();
    const { channel } = pair.dialer;
    const code = new Promise<unknown>((resolve) => (channel.onClose = resolve));
    pair.paths[0]?.a.pause();
    for (let i = 0; i < 600; i++) channel.write(Buffer.alloc(65_536));
    assert.ok(isMoatError(await code, 'LINK_BACKLOG'));
  });

  test('greetings: random bytes end in one code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 33, maxLength: 33 }), (bytes) => {
        assert.throws(() => decodeGreeting(Buffer.from(bytes)), { code: 'FRAME_INVALID' });
      }),
    );
    const greeting = { kind: 'goes on', id: 'AAAAAAAAAAAAAAAAAAAAAA', received: 2 ** 40 } as const;
    assert.deepEqual(decodeGreeting(encodeGreeting(greeting)), greeting);
  });
});

interface Door {
  readonly roster: Roster;
  allowed: boolean;
  /** What the machine answers to a channel of `peer` that begins with `greeting`. */
  greet(peer: string, greeting: Greeting): Promise<Greeting['kind'] | 'nothing' | 'a link'>;
}

const ID = 'BBBBBBBBBBBBBBBBBBBBBA';
const begins: Greeting = { kind: 'begins', id: ID, received: 0 };
const goesOn: Greeting = { kind: 'goes on', id: ID, received: 0 };

/** The acceptor's door for channels, with peers that speak raw. */
function openDoor(): Door {
  const roster = new Roster(BOB);
  const ignore = (): void => undefined;
  const door: Door = {
    roster,
    allowed: true,
    async greet(peer, greeting) {
      const { a, b } = createChannelPair();
      const answer = new Promise<Greeting['kind'] | 'nothing'>((resolve) =>
        readGreeting(
          a,
          ({ kind }) => resolve(kind),
          () => resolve('nothing'),
        ),
      );
      const accepted = births.accepted(b, peer, 'tls').then(
        () => true,
        () => false,
      );
      a.write(encodeGreeting(greeting));
      if (greeting.kind === 'begins' && (await accepted)) return 'a link';
      return answer;
    },
  };
  const births = new Births(
    {
      clock: systemClock,
      logger: silentLogger,
      roster,
      accept: (stream) => void echo(stream),
      mayLink: () => door.allowed,
      isWorn: () => false,
      onWorn: ignore,
      onPathless: ignore,
      onStands: ignore,
      onEnded: ignore,
    },
    { kind: 'member', limits: {} },
  );
  return door;
}

describe('whose link it is', () => {
  test('another peer that names it gets nothing, and the link runs on; its own peer goes on', async () => {
    const door = openDoor();
    assert.equal(await door.greet(ALICE, begins), 'a link');
    const [session] = door.roster.list();
    assert.equal(await door.greet('12D3KooWMallory', goesOn), 'unknown');
    assert.equal(await door.greet('12D3KooWMallory', begins), 'unknown', 'nor may she begin one by this name');
    assert.equal(session?.closed.aborted, false);
    assert.equal(await door.greet(ALICE, goesOn), 'goes on');
    assert.equal(door.roster.list().length, 1);
    session?.close('TEST_OVER');
  });

  test('a link that may not stand any more does not go on, and a revoked one is forgotten', async () => {
    const door = openDoor();
    assert.equal(await door.greet(ALICE, begins), 'a link');
    const [session] = door.roster.list();
    door.allowed = false;
    assert.equal(await door.greet(ALICE, goesOn), 'nothing');
    session?.close('LINK_REVOKED');
    door.allowed = true;
    assert.equal(await door.greet(ALICE, goesOn), 'unknown');
    assert.equal(door.roster.list().length, 0);
  });

  test('a peer that begins anew has lost its old link, which ends at once', async () => {
    const door = openDoor();
    assert.equal(await door.greet(ALICE, begins), 'a link');
    const [old] = door.roster.list();
    assert.equal(await door.greet(ALICE, { ...goesOn, received: 0 }), 'goes on');
    await turns(3);
    old?.close('TEST_OVER');
    assert.equal(await door.greet(ALICE, { ...begins, id: 'CCCCCCCCCCCCCCCCCCCCCA' }), 'a link');
    door.roster.list().forEach((session) => session.close('TEST_OVER'));
  });

  test('a peer that begins one after the other has its four newest; those of others stay', async () => {
    const door = openDoor();
    assert.equal(await door.greet('12D3KooWCarol', { ...begins, id: 'AAAAAAAAAAAAAAAAAAAAAA' }), 'a link');
    const made = [];
    for (const letter of 'BCDEFG') {
      assert.equal(await door.greet(ALICE, { ...begins, id: `${letter}AAAAAAAAAAAAAAAAAAAAA` }), 'a link');
      made.push(door.roster.best(ALICE));
    }
    const codes = made.map((session) => isMoatError(session?.closed.reason) && session.closed.reason.code);
    assert.deepEqual(codes, ['LINK_LIMIT', 'LINK_LIMIT', false, false, false, false]);
    assert.equal(door.roster.list().length, 5);
    assert.equal(await door.greet(ALICE, { ...goesOn, id: 'BAAAAAAAAAAAAAAAAAAAAA' }), 'unknown');
    assert.equal(await door.greet(ALICE, { ...goesOn, id: 'DAAAAAAAAAAAAAAAAAAAAA' }), 'goes on');
    door.roster.list().forEach((session) => session.close('TEST_OVER'));
  });
});

describe('links of two machines', () => {
  test('go on over the overlay when the port is closed and the socket cut, under a running transfer', async () => {
    await using leaks = checkLeaks();
    const sockets: Socket[] = [];
    let open = true;
    const middle = createServer((near) => {
      if (!open) {
        near.destroy();
        return;
      }
      const far = connect(machines.bob.port ?? 0, '127.0.0.1');
      for (const socket of [near, far]) sockets.push(socket.on('error', () => undefined));
      near.pipe(far).pipe(near);
    });
    middle.listen(0, '127.0.0.1');
    await once(middle, 'listening');
    const { port } = middle.address() as AddressInfo;
    await using machines = await createMachines({ bob: { listen: LOOPBACK, announcePort: port } });
    const link = await machines.alice.connect(BOB, soon());
    await link.ping(soon());
    const transfer = roundTrip(link, 16 * 2 ** 20);
    await turns(30);
    open = false;
    for (const socket of sockets) socket.destroy();
    assert.equal(await transfer, true);
    assert.equal(machines.alice.get(BOB), link);
    assert.equal(machines.alice.list().length, 1);
    assert.equal(machines.bob.list().length, 1);
    middle.close();
    assert.ok(leaks);
  });

  test('a side that only accepts asks to be dialed when it alone knows that the path is gone', async () => {
    await using leaks = checkLeaks();
    const near: Socket[] = [];
    const far: Socket[] = [];
    const middle = createServer((socket) => {
      const onward = connect(machines.bob.port ?? 0, '127.0.0.1');
      near.push(socket.on('error', () => undefined));
      far.push(onward.on('error', () => undefined));
      // Nothing is said of an end: a router forgets without a word.
      socket.on('data', (chunk) => onward.write(chunk));
      onward.on('data', (chunk) => socket.write(chunk));
    });
    middle.listen(0, '127.0.0.1');
    await once(middle, 'listening');
    const { port } = middle.address() as AddressInfo;
    await using machines = await createMachines({ bob: { listen: LOOPBACK, announcePort: port } });
    const link = await machines.alice.connect(BOB, soon());
    await link.ping(soon());
    const [accepted] = machines.bob.list();
    assert.ok(accepted);
    const transfer = roundTrip(accepted, 4 * 2 ** 20);
    await turns(10);
    far[0]?.resetAndDestroy();
    assert.equal(await transfer, true);
    assert.equal(machines.alice.get(BOB), link);
    assert.deepEqual(machines.bob.list(), [accepted]);
    for (const socket of [...near, ...far]) socket.destroy();
    middle.close();
    assert.ok(leaks);
  });
});
