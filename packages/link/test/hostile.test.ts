/** Peers that may link and use it up: offers without end, links twice. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';

import {
  MoatError,
  silentLogger,
  systemClock,
  type ControlPlane,
  type LinkStream,
  type PeerConnection,
} from '@moat/core';
import { createManualClock, createMemoryNetwork } from '@moat/testkit';

import { createLinks, type LinkService } from '../src/index.ts';
import { LINK_PROTOCOL, decodeMessage, encodeMessage } from '../src/messages.ts';
import { ALICE, BOB, LOOPBACK, createMachines } from './linked.ts';
import { Recorder, echo, turns } from './recorder.ts';

const tcp = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: 'db', kind: 'tcp' } as const;
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

test('a peer that offers without end has us dial a few sockets at once', async () => {
  const silent = createServer((socket) => void socket.on('error', () => undefined));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const network = createMemoryNetwork();
  const mallory = network.join(BOB);
  const alice = createLinks(
    { logger: silentLogger, clock: systemClock, control: network.join(ALICE), accept: (stream) => void echo(stream) },
    { role: 'member', mayLink: () => true },
  );
  await alice.start({ signal: soon() });
  network.connect(ALICE, BOB);
  const [connection] = mallory.connections(ALICE);
  assert.ok(connection);
  const answers: string[] = [];
  for (const tickets of [16, 16, 1, 0, 0]) {
    const stream = await mallory.open(connection, LINK_PROTOCOL, soon());
    const ticket = { id: new Uint8Array(16).fill(1), secret: new Uint8Array(32).fill(2) };
    const offer = {
      type: 'offer',
      tickets: Array.from({ length: tickets }, () => ticket),
      port,
      kind: 'gateway',
      expires: 60_000,
    };
    await stream.write(encodeMessage(offer as never), soon());
    answers.push(decodeMessage(await stream.read(soon())).type);
    await stream.close();
    await turns(20);
  }
  assert.deepEqual(answers, ['taken', 'refused', 'refused', 'refused', 'refused']);
  await alice.stop();
  silent.close();
});

test('two that dial each other at once end with one link, whose streams work', async () => {
  const network = createMemoryNetwork();
  const join = async (peer: string): Promise<LinkService> => {
    const links = createLinks(
      {
        logger: silentLogger,
        clock: systemClock,
        control: ownFirst(network.join(peer)),
        accept: (stream) => void echo(stream),
      },
      { role: 'member', mayLink: () => true, listen: LOOPBACK },
    );
    await links.start({ signal: soon() });
    return links;
  };
  await using alice = await join(ALICE);
  await using bob = await join(BOB);
  for (let round = 0; round < 5; round++) {
    network.connect(ALICE, BOB);
    network.connect(BOB, ALICE);
    const [one, two] = await Promise.all([alice.connect(BOB, soon()), bob.connect(ALICE, soon())]);
    const early = [new Recorder(one.open(tcp)), new Recorder(two.open(tcp))];
    for (const { stream } of early) stream.end();
    for (const recorder of early) assert.equal(await recorder.closed, undefined);
    await settled(() => alice.list().length === 1 && bob.list().length === 1);
    for (const link of [alice.get(BOB), bob.get(ALICE)]) {
      const late = new Recorder(link?.open(tcp) ?? assert.fail('no link'));
      late.stream.end();
      assert.equal(await late.closed, undefined);
    }
    for (const link of alice.list()) link.close('LINK_CLOSED');
    network.disconnect(ALICE, BOB);
    await settled(() => bob.list().length === 0);
  }
});

/** Connections it dialed come first, as each side of a real crossing sees it. */
function ownFirst(control: ControlPlane): ControlPlane {
  return {
    self: control.self,
    connections: (peer) =>
      [...control.connections(peer)].sort((a, b) =>
        a.direction === b.direction ? 0 : a.direction === 'outbound' ? -1 : 1,
      ),
    connect: (peer, signal) => control.connect(peer, signal),
    improve: (peer) => control.improve(peer),
    open: (connection, protocol, signal) => control.open(connection, protocol, signal),
    handle: (protocol, handler, options) => control.handle(protocol, handler, options),
    openBytes: (connection, protocol, signal) => control.openBytes(connection, protocol, signal),
    handleBytes: (protocol, handler, options) => control.handleBytes(protocol, handler, options),
    onAdmitted: (listener) => control.onAdmitted(listener),
  };
}

test('a connection that is given back while a link is made over it gives way to the one that stands', async () => {
  const network = createMemoryNetwork();
  const own = network.join(ALICE);
  let isGivenBack = false;
  const standing = (): readonly PeerConnection[] => own.connections(BOB);
  const control: ControlPlane = {
    ...ownFirst(own),
    connections: (peer) => (isGivenBack ? own.connections(peer) : []),
    connect: () => Promise.resolve({ ...(standing()[0] ?? assert.fail('not connected')), id: 'relayed' }),
    open: (connection, protocol, signal) => {
      if (connection.id !== 'relayed') return own.open(connection, protocol, signal);
      isGivenBack = true;
      return Promise.reject(new MoatError('PEER_UNREACHABLE', 'the connection is gone'));
    },
  };
  const accept = (stream: LinkStream): void => void echo(stream);
  const deps = { logger: silentLogger, clock: systemClock, accept };
  const options = { role: 'member', mayLink: () => true } as const;
  await using alice = createLinks({ ...deps, control }, options);
  await using bob = createLinks({ ...deps, control: network.join(BOB) }, { ...options, listen: LOOPBACK });
  await Promise.all([alice.start({ signal: soon() }), bob.start({ signal: soon() })]);
  network.connect(ALICE, BOB);
  assert.equal((await alice.connect(BOB, soon())).peer, BOB);
});

async function settled(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 5000 && !condition(); i++) await turns(1);
  assert.ok(condition());
}

test('who blocks the link port for a while does not keep the link on the overlay', async () => {
  const clock = createManualClock();
  const blocked = createServer();
  blocked.listen(0, '127.0.0.1');
  await once(blocked, 'listening');
  const { port } = blocked.address() as AddressInfo;
  blocked.close();
  await once(blocked, 'close');
  await using machines = await createMachines({ clock, bob: { listen: LOOPBACK, announcePort: port } });
  const { alice, bob } = machines;
  const slow = await alice.connect(BOB, soon());
  const opened = createServer((near) => {
    const far = connect(bob.port ?? 0, '127.0.0.1');
    for (const socket of [near, far]) socket.on('error', () => undefined);
    near.pipe(far).pipe(near);
  });
  opened.listen(port, '127.0.0.1');
  await once(opened, 'listening');
  const hasSocket = (): boolean =>
    process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length >= 4;
  for (let second = 0; second < 700 && !hasSocket(); second += 5) {
    clock.advance(5000);
    await turns(20);
  }
  assert.ok(hasSocket(), 'it has a socket of its own');
  await turns(20);
  assert.equal(alice.get(BOB), slow, 'the link moved');
  const client = new Recorder(slow.open(tcp));
  client.stream.end();
  assert.equal(await client.closed, undefined);
  await alice.stop();
  opened.close();
});
