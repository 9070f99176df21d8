/** What a stranger or a hostile member can use up: places, memory, our own dials. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError, systemClock, type MessageStream, type PeerConnection } from '@moat/core';
import { createInvite, type PublicationBundle } from '@moat/contract';
import { createNodeKey } from '@moat/identity';
import { createManualClock } from '@moat/testkit';
import type { Connection } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import { OverlayConnection } from '../src/connection.ts';
import { MAX_MESSAGE_BYTES } from '../src/message-stream.ts';
import { readParts } from '../src/messages.ts';
import { PerSecond } from '../src/per-second.ts';
import { TokenBucket } from '../src/token-bucket.ts';
import { Deployment, claimFor, introduce, soon, started, until, type Machine } from './world.fixture.ts';

test('a document in crumbs is refused: each part but the last is full', async () => {
  const length = Uint8Array.of(0, 1, 0, 1);
  const whole = [length, new Uint8Array(MAX_MESSAGE_BYTES), Uint8Array.of(7)];
  assert.equal((await readParts(reading(whole), 100_000, soon())).length, MAX_MESSAGE_BYTES + 1);
  for (const parts of [
    [length, Uint8Array.of(7), new Uint8Array(MAX_MESSAGE_BYTES)],
    [length, new Uint8Array(MAX_MESSAGE_BYTES - 1), Uint8Array.of(7), Uint8Array.of(7)],
  ]) {
    await assert.rejects(readParts(reading(parts), 100_000, soon()), (error) => isMoatError(error, 'MESSAGE_INVALID'));
  }
});

test('silent strangers at a keeper do not keep others from joining', async () => {
  await using alice = await started({ limits: { connectionsPerSecond: 1000 } });
  const invite = createInvite(Buffer.alloc(32, 1));
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, laptop: invite }), alice);
  await using crowd = await strangers(alice, 40, '/moat/join/1', () => undefined);
  await using laptop = await started();
  const request = claimFor(shop.id, 'laptop', laptop.key, invite);
  const answer = await laptop.overlay.requestJoin(alice.overlay.addresses(), request, soon());
  assert.ok(answer.ok);
  assert.ok(crowd);
});

test('slow publications of strangers do not keep others from publishing', async () => {
  await using gateway = await started({ limits: { connectionsPerSecond: 1000 } });
  gateway.overlay.servePublish(() => Promise.resolve({ ok: true, names: [], refused: [] }));
  await using crowd = await strangers(gateway, 40, '/moat/publish/1', (stream) => {
    stream.write(Uint8Array.of(0, 8, 0, 0), soon()).catch(() => undefined);
  });
  await using web = await started();
  const bundle: PublicationBundle = {
    proof: new Deployment().version({ 'web!': web.peer }).proof,
    publications: [],
    claims: [],
  };
  const connection = await web.overlay.dial(gateway.overlay.addresses(), soon());
  const answer = await web.overlay.publish(connection, bundle, soon());
  assert.ok(answer.ok);
  assert.ok(crowd);
});

test('one peer has a few connections, however often it dials', async () => {
  await using alice = await started({ limits: { connectionsPerSecond: 1000 } });
  const key = createNodeKey();
  const shop = new Deployment();
  const version = shop.version({ 'alice!': alice.peer, mallory: key.peerId });
  alice.view.hold(version);
  const same = await Promise.all(Array.from({ length: 20 }, () => started({ key, listen: [] })));
  await using stack = new AsyncDisposableStack();
  for (const one of same) {
    stack.use(one);
    one.view.hold(version);
    await one.overlay.dial(alice.overlay.addresses(), soon());
  }
  await until(() => alice.overlay.connections(key.peerId).length === 8, 'the oldest are closed');
  assert.equal(same.at(-1)?.overlay.connections(alice.peer).length, 1, 'the newest stands');
});

test('a member that pulls without end waits for it', async () => {
  await using alice = await started();
  await using mallory = await started();
  const shop = new Deployment();
  const version = shop.version({ 'alice!': alice.peer, mallory: mallory.peer });
  introduce({ ...version, bytes: new Uint8Array(1024 * 1024) }, alice);
  introduce(version, mallory);
  const connection = await mallory.overlay.dial(alice.overlay.addresses(), soon());
  const since = Date.now();
  for (let i = 0; i < 6; i++) {
    const stream = await mallory.overlay.open(connection, '/moat/heads/1', soon());
    await stream.write(Buffer.from(JSON.stringify({ kind: 'pull', deployment: shop.id, version: 0 })), soon());
    assert.deepEqual(JSON.parse(Buffer.from(await stream.read(soon())).toString()), { found: true });
    assert.equal((await readParts(stream, 1024 * 1024, soon())).length, 1024 * 1024);
  }
  // 16 requests each, 50 a second and 50 at once
  assert.ok(Date.now() - since > 700, `${Date.now() - since} ms`);
});

test('nobody uses up the relayed connections of another machine alone', async () => {
  await using anchor = await started({ anchor: { relayedPerPeer: 4 }, limits: { connectionsPerSecond: 1000 } });
  await using bob = await started({ listen: [], limits: { probationMs: 60_000 } });
  const [at] = anchor.overlay.addresses();
  introduce(new Deployment().version({ 'bob!': bob.peer }, anchor.overlay.addresses()), bob);
  await until(() => bob.overlay.reservations().length === 1, 'reserved');
  await using crowd = new AsyncDisposableStack();
  let reached = 0;
  for (let i = 0; i < 4; i++) {
    const stranger = crowd.use(await started({ listen: [], limits: { probationMs: 60_000 } }));
    reached += await stranger.overlay.dial([`${at}/p2p-circuit/p2p/${bob.peer}`], soon()).then(
      () => 1,
      () => 0,
    );
  }
  assert.equal(reached, 2);
});

test('so many times a second, each key for itself', () => {
  const clock = createManualClock();
  const rate = new PerSecond(clock, 2);
  assert.deepEqual(
    [1, 2, 3].map(() => rate.allow('a')),
    [true, true, false],
  );
  assert.equal(rate.allow('b'), true);
  clock.advance(1000);
  assert.equal(rate.allow('a'), true);
});

test('limits count an address, the /64 of IPv6, and an anchor for what comes through it', () => {
  const originOf = (address: string): string => {
    const raw = {
      id: 'c',
      remotePeer: 'p',
      direction: 'inbound',
      remoteAddr: multiaddr(address),
      addEventListener: () => undefined,
    } as unknown as Connection;
    return new OverlayConnection(raw, new TokenBucket(systemClock, 1)).origin;
  };
  assert.equal(originOf('/ip4/192.0.2.7/tcp/1'), '192.0.2.7');
  assert.equal(originOf('/ip6/2001:db8:1:2::7/tcp/1'), originOf('/ip6/2001:db8:1:2:ffff::9/tcp/2'));
  assert.notEqual(originOf('/ip6/2001:db8:1:2::7/tcp/1'), originOf('/ip6/2001:db8:1:3::7/tcp/1'));
  const anchor = createNodeKey().peerId;
  assert.equal(originOf(`/ip4/192.0.2.7/tcp/1/p2p/${anchor}/p2p-circuit`), 'relayed 192.0.2.7');
});

/** `count` machines that open two streams of a protocol each and then say no more. */
async function strangers(
  target: Machine,
  count: number,
  protocol: string,
  begin: (stream: MessageStream) => void,
): Promise<AsyncDisposableStack> {
  const stack = new AsyncDisposableStack();
  await Promise.all(
    Array.from({ length: count }, async () => {
      const stranger = stack.use(await started({ listen: [], limits: { probationMs: 60_000 } }));
      const connection: PeerConnection = await stranger.overlay.dial(target.overlay.addresses(), soon());
      for (let i = 0; i < 2; i++) begin(await stranger.overlay.open(connection, protocol, soon()));
    }),
  );
  return stack;
}

function reading(messages: readonly Uint8Array[]): MessageStream {
  const left = [...messages];
  return {
    read: () => Promise.resolve(left.shift() ?? assert.fail('read too often')),
  } as unknown as MessageStream;
}
