/** Random, oversized and truncated bytes to every protocol: each ends in a coded error or a reset, and nothing else suffers. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isMoatError, type PeerConnection } from '@moat/core';
import { createInvite } from '@moat/contract';
import { Deployment, introduce, soon, started, until, type Machine } from './world.fixture.ts';

const PROTOCOLS = [
  '/moat/hello/1',
  '/moat/heads/1',
  '/moat/join/1',
  '/moat/publish/1',
  '/moat/id/1.0.0',
  '/moat/ping/1.0.0',
  '/libp2p/circuit/relay/0.2.0/hop',
  '/libp2p/circuit/relay/0.2.0/stop',
];

/** What a hostile peer writes before it ends its direction. */
const INPUTS: Readonly<Record<string, Uint8Array>> = {
  nothing: new Uint8Array(0),
  random: randomBytes(3000),
  'a huge length': Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 2, 3),
  'a length above the bound': frame(new Uint8Array(0), 64 * 1024 + 1),
  'half a message': frame(new Uint8Array(10), 1000),
  'an empty message': frame(new Uint8Array(0)),
  'not JSON': frame(Buffer.from('{"deployments":[')),
  'not UTF-8': frame(Uint8Array.of(0x22, 0xff, 0xfe, 0x22)),
  'deep nesting': frame(Buffer.from('['.repeat(60_000))),
  'an unknown field': frame(Buffer.from('{"deployments":[],"more":1}'.padEnd(1024))),
  'a list of the wrong length': frame(Buffer.from('{"deployments":[]}')),
  'too many names': frame(
    Buffer.from(JSON.stringify({ deployments: Array.from({ length: 33 }, () => 'a'.repeat(26)) }).padEnd(1024)),
  ),
  'a prototype': frame(
    Buffer.from('{"__proto__":{"kind":"pull"},"kind":"pull","deployment":"constructor","version":0}'),
  ),
  'a pull of a strange version': frame(
    Buffer.from(JSON.stringify({ kind: 'pull', deployment: 'a'.repeat(26), version: 1e300 })),
  ),
  'news without end': Buffer.concat([
    frame(Buffer.from('{"kind":"news"}')),
    frame(Uint8Array.of(0xff, 0xff, 0xff, 0xff)),
  ]),
  'news cut short': Buffer.concat([
    frame(Buffer.from('{"kind":"news"}')),
    frame(Uint8Array.of(0, 0, 1, 0)),
    frame(randomBytes(100)),
  ]),
  'news of nothing': Buffer.concat([frame(Buffer.from('{"kind":"news"}')), parts(Buffer.from('{"deployment":1}'))]),
  'a forged proof': Buffer.concat([
    frame(Buffer.from('{"kind":"news"}')),
    parts(
      Buffer.from(
        JSON.stringify({ deployment: 'a'.repeat(26), proof: { genesis: {}, successions: [], newest: {} }, claims: [] }),
      ),
    ),
  ]),
  'a summary of junk': Buffer.concat([
    frame(Buffer.from(JSON.stringify({ kind: 'compare', deployment: 'a'.repeat(26) }))),
    parts(Buffer.from(JSON.stringify({ version: null, head: 'x', claims: [] }))),
  ]),
  'a join of nothing': frame(Buffer.from('{"signed":null,"details":[]}')),
  'a bundle of nothing': parts(Buffer.from('{}')),
};

test('a stranger can send anything to any protocol', async () => {
  await using alice = await target();
  await using mallory = await started({ limits: { probationMs: 60_000 } });
  await assault(mallory, alice, () => mallory.overlay.dial(alice.overlay.addresses(), soon()));
  await stillServes(alice);
});

test('so can a member', async () => {
  await using alice = await target();
  await using mallory = await started();
  introduce(new Deployment().version({ 'alice!': alice.peer, mallory: mallory.peer }), alice, mallory);
  await assault(mallory, alice, () => mallory.overlay.connect(alice.peer, soon()));
  await stillServes(alice);
});

test('a bundle that is no bundle is answered with a code', async () => {
  await using alice = await target();
  await using mallory = await started();
  const connection = await mallory.overlay.dial(alice.overlay.addresses(), soon());
  const answer = await mallory.overlay.publish(connection, { proof: 'none' } as never, soon());
  assert.deepEqual(answer.ok ? 'ok' : answer.code, 'CONTRACT_INVALID');
});

test('answers that are no answers end in codes', async () => {
  await using fake = await started();
  await using laptop = await started();
  for (const [what, bytes] of Object.entries(INPUTS)) {
    const connection = await laptop.overlay.dial(fake.overlay.addresses(), soon());
    const answering = Promise.withResolvers<void>();
    const protocol = `/moat/fake-${what.replaceAll(' ', '-')}/1`;
    fake.overlay.handleBytes(
      protocol,
      (channel) => {
        if (bytes.length > 0) channel.write(bytes);
        channel.end();
        answering.resolve();
      },
      { audience: 'anyone' },
    );
    const stream = await laptop.overlay.open(connection, protocol, soon());
    await answering.promise;
    await assert.rejects(
      async () => {
        for (;;) await stream.read(soon());
      },
      (error) => isMoatError(error, 'STREAM_ENDED') || isMoatError(error, 'MESSAGE_TOO_LARGE'),
      what,
    );
    stream.abort(new Error('done'));
  }
});

/** A keeper, gateway and anchor in one: everything that can be attacked. */
async function target(): Promise<Machine> {
  const alice = await started({ anchor: true });
  alice.view.hold(new Deployment().version({ 'alice!': alice.peer, laptop: createInvite(randomBytes(32)) }));
  alice.overlay.servePublish(() => Promise.resolve({ ok: false, code: 'NAME_HELD', message: 'no' }));
  return alice;
}

async function assault(mallory: Machine, alice: Machine, connect: () => Promise<PeerConnection>): Promise<void> {
  const before = JSON.stringify(alice.view.log);
  for (const protocol of PROTOCOLS) {
    await Promise.all(
      Object.entries(INPUTS).map(async ([what, bytes]) => {
        const connection = await connect();
        const outcome = await sendRaw(mallory, connection, protocol, bytes);
        assert.ok(outcome === 'ended' || outcome === 'reset', `${protocol} ${what}: ${outcome}`);
      }),
    );
  }
  assert.equal(JSON.stringify(alice.view.log), before, 'nothing was taken');
}

/** Writes, ends our direction, and says how the other side ended. */
async function sendRaw(
  from: Machine,
  connection: PeerConnection,
  protocol: string,
  bytes: Uint8Array,
): Promise<string> {
  let channel;
  try {
    channel = await from.overlay.openBytes(connection, protocol, soon());
  } catch (error) {
    return isMoatError(error) ? 'reset' : String(error);
  }
  const { promise, resolve } = Promise.withResolvers<string>();
  channel.onEnd = () => resolve('ended');
  channel.onClose = () => resolve('reset');
  if (bytes.length > 0) channel.write(bytes);
  channel.end();
  const timer = setTimeout(() => resolve('still open after 8 s'), 8000);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    channel.destroy();
  }
}

async function stillServes(alice: Machine): Promise<void> {
  await using bob = await started();
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  const connection = await bob.overlay.connect(alice.peer, soon());
  await until(() => bob.overlay.shared(connection).includes(shop.id), 'an honest member is served');
}

function frame(message: Uint8Array, length: number = message.length): Uint8Array {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(length);
  return Buffer.concat([header, message]);
}

function parts(document: Uint8Array): Uint8Array {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(document.length);
  return Buffer.concat([frame(header), frame(document)]);
}
