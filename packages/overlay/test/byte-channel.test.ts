import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ByteChannel, PeerConnection } from '@moat/core';
import { Deployment, introduce, soon, started, until, type Machine } from './world.fixture.ts';

const CHUNK = 64 * 1024;
const MIB = 1024 * 1024;

test('a reader that stops, stops the writer: neither side grows, nothing is lost', async () => {
  await using alice = await started();
  await using bob = await started();
  const { out, inbound } = await channelBetween(alice, bob);
  inbound.pause();
  let received = 0;
  let ordered = true;
  inbound.onData = (chunk) => {
    for (const byte of chunk) if (byte !== patternAt(received++)) ordered = false;
  };
  const total = 24 * MIB;
  let sent = 0;
  const writeAll = (): void => {
    while (sent < total) {
      const chunk = pattern(sent, CHUNK);
      sent += CHUNK;
      if (!out.write(chunk)) return;
      assert.ok(out.bufferedBytes <= MIB);
    }
    out.end();
  };
  const ended = Promise.withResolvers<void>();
  inbound.onEnd = () => ended.resolve();
  out.onDrain = writeAll;
  writeAll();
  await quiet();
  assert.ok(out.bufferedBytes <= MIB, `${out.bufferedBytes} bytes wait`);
  const stalledAt = sent;
  assert.ok(stalledAt < 2 * MIB, `${stalledAt} bytes were taken from a writer whose reader stopped`);
  await quiet();
  assert.equal(sent, stalledAt);
  // stop and go in the middle too
  inbound.resume();
  await until(() => received > 4 * MIB, 'flowing again');
  inbound.pause();
  const pausedAt = received;
  await quiet();
  assert.ok(received <= pausedAt + CHUNK);
  inbound.resume();
  await ended.promise;
  assert.equal(received, total);
  assert.ok(ordered);
});

test('handlers set in the turn of the hand-over miss nothing, half-close is kept', async () => {
  await using alice = await started();
  await using bob = await started();
  const { out, inbound } = await channelBetween(alice, bob);
  const atBob = collect(inbound);
  const atAlice = collect(out);
  out.write(Buffer.from('question'));
  out.end();
  assert.equal(await atBob.ended, 'question');
  inbound.write(Buffer.from('answer'));
  inbound.end();
  assert.equal(await atAlice.ended, 'answer');
  assert.equal(await atAlice.closed, undefined);
  assert.equal(await atBob.closed, undefined);
});

test('destroy ends both sides, once, with the error on the other side only', async () => {
  await using alice = await started();
  await using bob = await started();
  const { out, inbound } = await channelBetween(alice, bob);
  const atBob = collect(inbound);
  const atAlice = collect(out);
  out.destroy();
  assert.equal(await atAlice.closed, undefined);
  assert.ok((await atBob.closed) instanceof Error);
  assert.equal(atBob.didEnd(), false, 'a reset is no end');
  assert.equal(out.write(Buffer.from('late')), false);
});

test('a lost connection closes its channels', async () => {
  await using alice = await started();
  const bob = await started();
  const { out } = await channelBetween(alice, bob);
  const atAlice = collect(out);
  await bob.overlay.stop();
  await atAlice.closed;
});

async function channelBetween(
  alice: Machine,
  bob: Machine,
): Promise<{ out: ByteChannel; inbound: ByteChannel; connection: PeerConnection }> {
  introduce(new Deployment().version({ 'alice!': alice.peer, bob: bob.peer }), alice, bob);
  const inbound = Promise.withResolvers<ByteChannel>();
  bob.overlay.handleBytes(
    '/moat/bytes/1',
    (channel) => {
      channel.pause();
      inbound.resolve(channel);
    },
    { audience: 'admitted' },
  );
  const connection = await alice.overlay.connect(bob.peer, soon());
  const out = await alice.overlay.openBytes(connection, '/moat/bytes/1', soon());
  // nothing was written yet, so the caller's handlers, and its own pause, come in time
  const channel = await inbound.promise;
  channel.resume();
  return { out, inbound: channel, connection };
}

function collect(channel: ByteChannel): {
  readonly ended: Promise<string>;
  didEnd(): boolean;
  readonly closed: Promise<Error | undefined>;
} {
  const ended = Promise.withResolvers<string>();
  const closed = Promise.withResolvers<Error | undefined>();
  let text = '';
  let closes = 0;
  let didEnd = false;
  channel.onData = (chunk) => (text += Buffer.from(chunk).toString());
  channel.onEnd = () => {
    didEnd = true;
    ended.resolve(text);
  };
  channel.onClose = (error) => {
    closes += 1;
    assert.equal(closes, 1);
    closed.resolve(error);
  };
  return { didEnd: () => didEnd, ended: ended.promise, closed: closed.promise };
}

function pattern(at: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => patternAt(at + i));
}

function patternAt(at: number): number {
  return (at * 31 + (at >>> 16)) & 0xff;
}

/** Long enough for loopback to move what it can. */
function quiet(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 250));
}
