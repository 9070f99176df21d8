/** Strangers at an anchor's door, anchors that cheat, and peers that send us elsewhere. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { silentLogger, systemClock, type ControlPlane, type Link } from '@moat/core';
import { checkLeaks, createManualClock, createMemoryNetwork, type ManualClock } from '@moat/testkit';

import { createLinks, type LinkService, type SpliceLimits } from '../src/index.ts';
import { LINK_PROTOCOL, decodeMessage, encodeMessage } from '../src/messages.ts';
import {
  SPLICE_PROTOCOL,
  decodeSpliceMessage,
  encodeSpliceMessage,
  type SpliceMessage,
} from '../src/splice-messages.ts';
import { encodeSplicePreamble } from '../src/ticket.ts';
import { ALICE, BOB, LOOPBACK } from './linked.ts';
import { Recorder } from './recorder.ts';
import { ANCHOR, createSpliced, type Spliced } from './spliced.ts';

const tcp = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: 'db', kind: 'tcp' } as const;
const soon = (): AbortSignal => AbortSignal.timeout(20_000);

interface Asked extends AsyncDisposable {
  readonly anchor: LinkService;
  readonly clock: ManualClock;
  ask(from?: string, question?: SpliceMessage): Promise<SpliceMessage>;
}

/** An anchor alone, with peers that only ask. */
async function openAnchor(splice: Partial<SpliceLimits> = {}, relayed = false): Promise<Asked> {
  const network = createMemoryNetwork();
  const clock = createManualClock();
  const control = network.join(ANCHOR);
  const anchor = createLinks(
    { logger: silentLogger, clock, control, accept: (stream) => stream.reset('SERVICE_UNKNOWN') },
    { role: 'gateway', mayLink: () => false, listen: LOOPBACK, splice },
  );
  await anchor.start({ signal: soon() });
  const planes = new Map<string, ControlPlane>();
  return {
    anchor,
    clock,
    async ask(from = ALICE, question = { type: 'pair?' }) {
      const plane = planes.get(from) ?? network.join(from);
      if (!planes.has(from)) network.connect(from, ANCHOR, { admitted: false, relayed });
      planes.set(from, plane);
      const [connection] = plane.connections(ANCHOR);
      assert.ok(connection);
      const stream = await plane.open(connection, SPLICE_PROTOCOL, soon());
      await stream.write(encodeSpliceMessage(question), soon());
      const answer = decodeSpliceMessage(await stream.read(soon()));
      await stream.close();
      return answer;
    },
    [Symbol.asyncDispose]: () => anchor.stop(),
  };
}

async function pairOf(asked: Asked, from?: string): Promise<{ port: number; ids: readonly [Uint8Array, Uint8Array] }> {
  const answer = await asked.ask(from);
  if (answer.type !== 'pair') throw new assert.AssertionError({ message: `answered ${answer.type}` });
  return answer;
}

function knock(port: number, id: Uint8Array): Socket {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  socket.on('error', () => undefined);
  socket.write(encodeSplicePreamble(id));
  return socket;
}

const closed = (socket: Socket): Promise<unknown> =>
  socket.destroyed ? Promise.resolve() : new Promise((resolve) => socket.once('close', resolve));

/** Two joined sockets, each past its first byte. */
async function joined(asked: Asked, from?: string): Promise<readonly [Socket, Socket]> {
  const { port, ids } = await pairOf(asked, from);
  const sockets = [knock(port, ids[0]), knock(port, ids[1])] as const;
  for (const [byte] of await Promise.all(sockets.map((socket) => once(socket, 'data')))) {
    assert.deepEqual(byte, Buffer.of(1));
  }
  return sockets;
}

describe('an anchor’s link port', () => {
  test('joins the two that show one pair, with half-close kept', async () => {
    await using leaks = checkLeaks();
    await using asked = await openAnchor();
    const [one, two] = await joined(asked);
    one.end('over and out');
    const [heard] = (await once(two, 'data')) as [Buffer];
    assert.equal(heard.toString(), 'over and out');
    two.write('still here');
    const [answer] = (await once(one, 'data')) as [Buffer];
    assert.equal(answer.toString(), 'still here');
    two.end();
    await Promise.all([closed(one), closed(two)]);
    assert.ok(leaks);
  });

  test('takes an id once, and no guess', async () => {
    await using asked = await openAnchor();
    const { port, ids } = await pairOf(asked);
    const first = knock(port, ids[0]);
    const again = knock(port, ids[0]);
    const guess = knock(port, randomBytes(16));
    await Promise.race([closed(first), closed(again)]);
    await closed(guess);
    assert.ok(first.destroyed !== again.destroyed, 'one of two that show the same id is reset');
    const second = knock(port, ids[1]);
    await once(second, 'data');
    for (const id of ids) await closed(knock(port, id));
    for (const socket of [first, again, second]) socket.destroy();
  });

  test('drops the one that waits for nobody, and ids that nobody shows', async () => {
    await using asked = await openAnchor({ pendingPerPeer: 1 });
    const { port, ids } = await pairOf(asked);
    assert.equal((await asked.ask()).type, 'refused');
    const alone = knock(port, ids[0]);
    const seen = knock(port, randomBytes(16));
    await closed(seen);
    asked.clock.advance(10_000);
    await closed(alone);
    await closed(knock(port, ids[1]));
    assert.equal((await asked.ask()).type, 'pair');
  });

  test('ends what is idle and what is old', async () => {
    await using asked = await openAnchor({ lifeMs: 500_000 });
    const idle = await joined(asked);
    asked.clock.advance(300_000);
    asked.clock.advance(300_000);
    await Promise.all(idle.map(closed));
    const busy = await joined(asked);
    for (const ms of [250_000, 250_000]) {
      busy[0].write('x');
      await once(busy[1], 'data');
      asked.clock.advance(ms);
    }
    await Promise.all(busy.map(closed));
  });

  test('slows down who sends more than its share, and loses nothing', async () => {
    await using asked = await openAnchor({ bytesPerSecondPerPeer: 64 * 1024 });
    const [one, two] = await joined(asked);
    let got = 0;
    two.on('data', (chunk: Buffer) => (got += chunk.length));
    one.end(Buffer.alloc(4 * 2 ** 20));
    const over = once(two, 'end');
    let steps = 0;
    for (let ended = false; !ended; steps += 1) {
      asked.clock.advance(1000);
      ended = await Promise.race([over.then(() => true), new Promise<false>((go) => setImmediate(() => go(false)))]);
    }
    assert.equal(got, 4 * 2 ** 20);
    assert.ok(steps >= 60, `4 MiB at 64 KiB a second took ${steps} seconds`);
    two.end();
  });

  test('gives each PeerId and each address its share of pairs, and nothing over another anchor', async () => {
    await using asked = await openAnchor({ asksPerSecond: 1000, pendingPerAddress: 10 });
    for (let i = 0; i < 8; i++) assert.equal((await asked.ask(ALICE)).type, 'pair');
    assert.deepEqual(await asked.ask(ALICE), { type: 'refused', code: 'SPLICE_BUSY' });
    for (let i = 0; i < 2; i++) assert.equal((await asked.ask(BOB)).type, 'pair');
    assert.deepEqual(await asked.ask(BOB), { type: 'refused', code: 'SPLICE_BUSY' }, 'the address has its share');
    await using hidden = await openAnchor({}, true);
    assert.deepEqual(await hidden.ask(ALICE), { type: 'refused', code: 'SPLICE_REFUSED' });
  });

  test('answers so many questions a second', async () => {
    await using asked = await openAnchor({ asksPerSecond: 2 });
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push((await asked.ask(ALICE)).type);
    assert.deepEqual(answers, ['pair', 'pair', 'refused', 'refused']);
    asked.clock.advance(1000);
    assert.equal((await asked.ask(ALICE)).type, 'pair');
  });

  test('gives no more pairs while as many splices run as may', async () => {
    await using asked = await openAnchor({ joinedPerPeer: 1 });
    const sockets = await joined(asked);
    assert.equal((await asked.ask(ALICE)).type, 'refused');
    const other = await joined(asked, BOB);
    for (const socket of [...sockets, ...other]) socket.destroy();
  });

  test('messages: random bytes end in one code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        assert.throws(() => decodeSpliceMessage(bytes), { code: 'TICKET_INVALID' });
      }),
    );
    assert.throws(() => decodeSpliceMessage(Buffer.from('{"type":"port","port":80,"host":"10.0.0.1"}')), {
      code: 'TICKET_INVALID',
    });
  });
});

test('5,000 silent sockets keep nobody out', async () => {
  await using machines = await createSpliced({ alice: { directMs: 10_000 } });
  const port = machines.anchor.port ?? 0;
  const flood: Socket[] = [];
  let done = 0;
  // From 100 addresses: one alone is stopped by the bound of an address.
  for (let i = 0; i < 5000; i++) {
    const socket = connect({ host: '127.0.0.1', port, localAddress: `127.0.1.${1 + (i % 100)}` });
    socket.on('error', () => undefined);
    socket.on('close', () => (done += 1));
    flood.push(socket);
    if (i % 500 === 0) await new Promise<void>((resolve) => setImmediate(resolve));
  }
  const links: Link[] = [];
  for (let i = 0; i < 5; i++) {
    const link = await machines.alice.connect(BOB, soon());
    assert.equal(link.path, 'spliced');
    links.push(link);
    link.close('TEST_OVER');
  }
  assert.equal(links.length, 5);
  for (const socket of flood) socket.destroy();
  assert.ok(done <= 5000);
});

type Cheat = (one: Socket, two: Socket) => void;

/** A port that says it joined, and does something else. */
async function evilPort(cheat: Cheat): Promise<{ readonly server: Server; readonly port: number }> {
  let waiting: Socket | undefined;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(Buffer.of(1));
      if (waiting === undefined) {
        socket.pause();
        waiting = socket;
        return;
      }
      cheat(waiting, socket);
      waiting = undefined;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

/** Passes on; from byte `after` on every byte is flipped. */
function flip(from: Socket, to: Socket, after: number): void {
  let at = 0;
  from.on('data', (chunk: Buffer) => {
    const copy = Buffer.from(chunk);
    for (let i = 0; i < copy.length; i++) if (at + i >= after) copy[i] = (copy[i] ?? 0) ^ 0xff;
    at += chunk.length;
    to.write(copy);
  });
  from.on('close', () => to.destroy());
  from.resume();
}

async function works(link: Link): Promise<void> {
  const client = new Recorder(link.open(tcp));
  client.stream.write(Buffer.from('hello'));
  client.stream.end();
  assert.equal(await client.closed, undefined);
  assert.equal(client.text, 'hello');
}

describe('an anchor that cheats gets nothing, and the link goes another way', () => {
  const cheats: Record<string, Cheat> = {
    'answers both and passes nothing on': () => undefined,
    'joins each with itself': (one, two) => {
      for (const socket of [one, two]) socket.pipe(socket);
    },
    'flips bytes from the ticket on': (one, two) => {
      flip(one, two, 0);
      flip(two, one, 0);
    },
    'flips bytes of the handshake': (one, two) => {
      flip(one, two, 60);
      flip(two, one, 60);
    },
    'plays the acceptor itself': (one, two) => {
      for (const socket of [one, two]) socket.on('data', () => socket.write(randomBytes(300))).resume();
    },
  };
  for (const [name, cheat] of Object.entries(cheats)) {
    test(name, async () => {
      const evil = await evilPort(cheat);
      await using machines = await createSpliced({ anchorPort: evil.port, alice: { directMs: 400 } });
      const link = await machines.alice.connect(BOB, soon());
      assert.equal(link.path, 'relayed');
      await works(link);
      evil.server.close();
    });
  }

  test('bytes flipped later end the link, and no altered byte arrives', async () => {
    const evil = await evilPort((one, two) => {
      flip(one, two, 20_000);
      flip(two, one, 20_000);
    });
    await using machines: Spliced = await createSpliced({ anchorPort: evil.port });
    const arrived: Recorder[] = [];
    machines.accept = (stream) => {
      arrived.push(new Recorder(stream));
      stream.writeHead({ connected: true });
    };
    const link = await machines.alice.connect(BOB, soon());
    assert.equal(link.path, 'spliced');
    const client = new Recorder(link.open(tcp));
    client.stream.write(Buffer.alloc(60_000, 'm'));
    const [server] = await Promise.all([
      client.closed.then(() => arrived[0] ?? assert.fail('nothing arrived')),
      link.closed.aborted ? undefined : once(link.closed, 'abort'),
    ]);
    assert.ok((await server.closed) !== undefined);
    assert.doesNotMatch(server.text, /[^m]/);
    evil.server.close();
  });
});

describe('a peer that sends us elsewhere', () => {
  test('gets no for an anchor that no shared contract names, and no socket is dialed', async () => {
    const network = createMemoryNetwork();
    const mallory = network.join(ALICE);
    let asked = 0;
    await using bob = createLinks(
      {
        logger: silentLogger,
        clock: systemClock,
        control: network.join(BOB),
        accept: (stream) => stream.reset('GRANT_DENIED'),
        anchors: {
          of: () => [],
          connect: () => {
            asked += 1;
            throw new Error('must not be asked');
          },
        },
      },
      { role: 'member', mayLink: () => true },
    );
    await bob.start({ signal: soon() });
    const connection = network.connect(ALICE, BOB, { relayed: true });
    const stream = await mallory.open(connection, LINK_PROTOCOL, soon());
    await stream.write(encodeMessage({ type: 'splice', anchor: ANCHOR, id: randomBytes(16) }), soon());
    assert.deepEqual(decodeMessage(await stream.read(soon())), { type: 'refused', code: 'LINK_REFUSED' });
    assert.equal(asked, 0);
  });
});
