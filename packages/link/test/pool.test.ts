import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { describe, test } from 'node:test';

import { isMoatError, silentLogger, systemClock, type Link } from '@moat/core';
import { checkLeaks, freePort } from '@moat/testkit';

import { createLinks } from '../src/index.ts';
import { decodeMessage, encodeMessage, type LinkMessage } from '../src/messages.ts';
import { ALICE, BOB, LOOPBACK, createMachines, nextLink } from './linked.ts';
import { Recorder, echo, turns } from './recorder.ts';

const tcp = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: 'db', kind: 'tcp' } as const;
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

/** A message over the link works. */
async function works(link: Link): Promise<void> {
  const client = new Recorder(link.open(tcp));
  client.stream.write(Buffer.from('hello'));
  client.stream.end();
  assert.equal(await client.closed, undefined);
  assert.equal(client.text, 'hello');
}

describe('links', () => {
  test('the side that dialed the connection dials the link', async () => {
    await using leaks = checkLeaks();
    await using machines = await createMachines({ bob: { listen: LOOPBACK } });
    const { alice, bob } = machines;
    assert.ok(bob.port);
    const far = nextLink(bob);
    const link = await alice.connect(BOB, soon());
    assert.equal(link.path, 'direct');
    assert.equal(link.peer, BOB);
    assert.equal((await far).peer, ALICE);
    await works(link);
    assert.equal(alice.get(BOB), link);
    assert.equal(alice.list().length, 1);
    assert.equal(await alice.connect(BOB, soon()), link, 'one link serves all');
    assert.ok(leaks);
  });

  test('the side that accepted the connection has the other side dial', async () => {
    await using leaks = checkLeaks();
    await using machines = await createMachines({ bob: { listen: LOOPBACK, role: 'gateway' } });
    const link = await machines.bob.connect(ALICE, soon());
    assert.equal(link.path, 'direct');
    await works(link);
    await works(machines.alice.get(BOB) ?? assert.fail('no link'));
    assert.equal(machines.alice.list().length, 1);
    assert.ok(leaks);
  });

  test('a gateway never dials: its own connections outwards carry no link it asked for', async () => {
    await using machines = await createMachines({ alice: { role: 'gateway' }, bob: { listen: LOOPBACK } });
    await assert.rejects(machines.alice.connect(BOB, soon()), { code: 'LINK_FAILED' });
  });

  test('both sides at once get links that work', async () => {
    await using machines = await createMachines({ alice: { listen: LOOPBACK }, bob: { listen: LOOPBACK } });
    const [a, b] = await Promise.all([machines.alice.connect(BOB, soon()), machines.bob.connect(ALICE, soon())]);
    await works(a);
    await works(b);
  });

  test('many who ask at once share one attempt', async () => {
    await using machines = await createMachines({ bob: { listen: LOOPBACK } });
    const links = await Promise.all(Array.from({ length: 50 }, () => machines.alice.connect(BOB, soon())));
    assert.equal(new Set(links).size, 1);
    await assert.rejects(machines.alice.connect('12D3KooWNobody', soon()), { code: 'PEER_UNREACHABLE' });
  });

  test('a caller that gives up does not end the attempt of the others', async () => {
    await using machines = await createMachines({ bob: { listen: LOOPBACK } });
    const impatient = new AbortController();
    const first = machines.alice.connect(BOB, impatient.signal);
    const second = machines.alice.connect(BOB, soon());
    impatient.abort(new Error('changed my mind'));
    await assert.rejects(first, /changed my mind/);
    await works(await second);
  });

  test('connections that are not there yet are made', async () => {
    await using machines = await createMachines({ bob: { listen: LOOPBACK } });
    machines.network.disconnect(ALICE, BOB);
    await works(await machines.alice.connect(BOB, soon()));
  });

  test('where the port is closed the frames ride the overlay', async () => {
    await using leaks = checkLeaks();
    await using machines = await createMachines({ bob: { listen: LOOPBACK, announcePort: await freePort() } });
    const link = await machines.alice.connect(BOB, soon());
    assert.equal(link.path, 'direct');
    await works(link);
    assert.ok(leaks);
  });

  test('where the port answers nothing the overlay takes over after directMs', async () => {
    const silent = createServer((socket) => void socket.on('error', () => undefined));
    const port = await listen(silent);
    await using machines = await createMachines({
      alice: { directMs: 20 },
      bob: { listen: LOOPBACK, announcePort: port },
    });
    await works(await machines.alice.connect(BOB, soon()));
    silent.close();
  });

  test('a relayed connection never dials a socket', async () => {
    await using machines = await createMachines({ bob: { listen: LOOPBACK }, relayed: true });
    const link = await machines.alice.connect(BOB, soon());
    assert.equal(link.path, 'relayed');
    await works(link);
  });

  test('a link moves to a better path under its running streams', async () => {
    await using machines = await createMachines({ bob: { listen: LOOPBACK }, relayed: true });
    const { alice, network } = machines;
    const link = await alice.connect(BOB, soon());
    const running = new Recorder(link.open(tcp));
    await running.head;
    network.connect(ALICE, BOB);
    while (link.path !== 'direct') await turns(1);
    assert.equal(alice.get(BOB), link);
    await works(link);
    running.stream.write(Buffer.from('still'));
    running.stream.end();
    assert.equal(await running.closed, undefined);
  });

  test('without consent there is no link, and an ended consent ends it', async () => {
    await using leaks = checkLeaks();
    let allowed = false;
    await using machines = await createMachines({ bob: { listen: LOOPBACK, mayLink: () => allowed } });
    const { alice, bob } = machines;
    await assert.rejects(alice.connect(BOB, soon()), { code: 'LINK_REFUSED' });
    await assert.rejects(bob.connect(ALICE, soon()), { code: 'LINK_REFUSED' });
    allowed = true;
    const link = await alice.connect(BOB, soon());
    const client = new Recorder(link.open(tcp));
    await client.head;
    bob.recheck();
    assert.equal(link.closed.aborted, false);
    allowed = false;
    bob.recheck();
    assert.equal(await client.closed, 'LINK_REVOKED');
    assert.ok(isMoatError(link.closed.reason, 'LINK_REVOKED'));
    assert.equal(bob.list().length, 0);
    assert.ok(leaks);
  });

  test('who closes takes no new links; streams go on, both sides hear of it, and the last stream ends the link', async () => {
    await using machines = await createMachines({ bob: { listen: LOOPBACK } });
    const { alice, bob } = machines;
    const link = await alice.connect(BOB, soon());
    const client = new Recorder(link.open(tcp));
    await client.head;
    assert.equal(link.leaving?.aborted, false);
    const told = once(link.leaving ?? assert.fail(), 'abort');
    bob.close();
    await told;
    assert.equal(link.closed.aborted, false);
    assert.equal(alice.get(BOB), undefined);
    await assert.rejects(alice.connect(BOB, soon()), { code: 'LINK_REFUSED' });
    client.stream.write(Buffer.from('still'));
    client.stream.end();
    assert.equal(await client.closed, undefined);
    if (!link.closed.aborted) await once(link.closed, 'abort');
  });

  test('a peer that refuses may not be refused by us: the dialer checks too', async () => {
    let allowed = true;
    await using machines = await createMachines({
      alice: { mayLink: () => allowed },
      bob: { listen: LOOPBACK },
    });
    await machines.alice.connect(BOB, soon());
    allowed = false;
    machines.alice.recheck();
    await assert.rejects(machines.alice.connect(BOB, soon()), { code: 'LINK_REFUSED' });
    await assert.rejects(machines.bob.connect(ALICE, soon()), { code: 'LINK_REFUSED' });
  });

  test('data flows on when the control connection is gone', async () => {
    await using machines = await createMachines({ bob: { listen: LOOPBACK } });
    const link = await machines.alice.connect(BOB, soon());
    machines.network.disconnect(ALICE, BOB);
    await turns(5);
    await works(link);
  });

  test('a peer that restarts is linked again', async () => {
    await using machines = await createMachines({ bob: { listen: LOOPBACK } });
    const { alice, network } = machines;
    const old = await alice.connect(BOB, soon());
    await machines.bob.stop();
    if (!old.closed.aborted) await once(old.closed, 'abort');
    network.disconnect(ALICE, BOB);
    await using again = createLinks(
      { logger: silentLogger, clock: systemClock, control: network.join(BOB), accept: (stream) => void echo(stream) },
      { role: 'member', mayLink: () => true, listen: LOOPBACK },
    );
    await again.start({ signal: soon() });
    await works(await alice.connect(BOB, soon()));
  });

  test('a worn link is replaced before it ends', async () => {
    const limits = { renewBytes: 100_000, heartbeat: { usedMs: 2, idleMs: 2, patience: 10_000 } };
    await using machines = await createMachines({ alice: { limits }, bob: { listen: LOOPBACK } });
    const { alice } = machines;
    const old = await alice.connect(BOB, soon());
    const running = new Recorder(old.open(tcp));
    await running.head;
    const fresh = nextLink(alice);
    await running.send(Buffer.alloc(100_000));
    const link = await fresh;
    await turns(10);
    assert.equal(alice.get(BOB), link);
    assert.throws(() => old.open(tcp), { code: 'LINK_CLOSED' });
    running.stream.end();
    assert.equal(await running.closed, undefined);
    assert.equal(running.bytes, 100_000);
    if (!old.closed.aborted) await once(old.closed, 'abort');
    await works(link);
  });

  test('stop ends everything and refuses what comes after', async () => {
    await using leaks = checkLeaks();
    const machines = await createMachines({ bob: { listen: LOOPBACK } });
    const link = await machines.alice.connect(BOB, soon());
    const client = new Recorder(link.open(tcp));
    await client.head;
    await machines.bob.stop();
    assert.equal(await client.closed, 'LINK_CLOSED');
    await assert.rejects(machines.alice.connect(BOB, soon()));
    await machines[Symbol.asyncDispose]();
    await assert.rejects(machines.alice.connect(BOB, soon()));
    assert.ok(leaks);
  });
});

describe('the messages of /moat/link/1', () => {
  test('round trip, and nothing else', () => {
    const offer: LinkMessage = {
      type: 'offer',
      tickets: [{ id: new Uint8Array(16).fill(1), secret: new Uint8Array(32).fill(2) }],
      port: 4411,
      kind: 'member',
      expires: 10_000,
    };
    for (const message of [
      offer,
      { type: 'ask' },
      { type: 'taken' },
      { type: 'refused', code: 'LINK_REFUSED' },
    ] as const) {
      const decoded = decodeMessage(encodeMessage(message));
      assert.equal(decoded.type, message.type);
      assert.deepEqual(encodeMessage(decoded), encodeMessage(message));
    }
    const plain = JSON.parse(Buffer.from(encodeMessage(offer)).toString()) as Record<string, unknown>;
    for (const bad of [
      {},
      [],
      null,
      { type: 'other' },
      { type: 'ask', more: 1 },
      { type: 'refused', code: 'no code' },
      { ...plain, host: '10.0.0.1' },
      { ...plain, port: 0 },
      { ...plain, port: 70_000 },
      { ...plain, kind: 'anchor' },
      { ...plain, tickets: [{ id: 'AAAA', secret: 'AAAA' }] },
      { ...plain, expires: 1e9 },
    ]) {
      assert.throws(() => decodeMessage(Buffer.from(JSON.stringify(bad))), { code: 'TICKET_INVALID' });
    }
    assert.throws(() => decodeMessage(Buffer.from('{')), { code: 'TICKET_INVALID' });
  });
});

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
