import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMoatError, systemClock } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { createNodeKey } from '@moat/identity';
import { streamPair } from '@libp2p/utils';
import type { Stream } from '@libp2p/interface';
import { RelayStream, relay } from '../src/relay-stream.ts';
import {
  HOP_PROTOCOL,
  RELAY_STATUS,
  STOP_PROTOCOL,
  decodeHopRequest,
  decodeHopStatus,
  decodeStopStatus,
  encodeHopStatus,
  encodeReserve,
  encodeStopConnect,
  readLength,
  withLength,
} from '../src/relay-wire.ts';
import { TokenBucket } from '../src/token-bucket.ts';
import { bareHost } from './host.fixture.ts';
import { soon, started, until } from './world.fixture.ts';

const isCoded = (error: unknown): boolean =>
  isMoatError(error, 'MESSAGE_INVALID') || isMoatError(error, 'MESSAGE_TOO_LARGE');

test('relay messages: what libp2p writes is read, and the other way', () => {
  assert.deepEqual(decodeHopRequest(encodeReserve()), { kind: 'reserve' });
  assert.deepEqual(decodeHopStatus(encodeHopStatus(RELAY_STATUS.ok, 1_800_000_000)), {
    status: 100,
    expiresSeconds: 1_800_000_000,
  });
  assert.deepEqual(decodeHopStatus(encodeHopStatus(RELAY_STATUS.noReservation)), {
    status: 204,
    expiresSeconds: undefined,
  });
  // HopMessage { type: CONNECT, peer: { id } } has the same bytes but for the type
  const { peerId } = createNodeKey();
  const connect = encodeStopConnect(peerId);
  connect[1] = 1;
  assert.deepEqual(decodeHopRequest(connect), { kind: 'connect', peer: peerId });
  // StopMessage { type: STATUS, status: OK } as libp2p writes it
  assert.equal(decodeStopStatus(Uint8Array.of(0x08, 0x01, 0x20, 0x64)), 100);
});

test('relay messages: random bytes end in a code', () => {
  const decoders = [decodeHopRequest, decodeHopStatus, decodeStopStatus, readLength];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const decode of decoders) {
        try {
          decode(bytes);
        } catch (error) {
          assert.ok(isCoded(error), String(error));
        }
      }
    }),
  );
});

test('relay messages: any message survives its length', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4096 }), (bytes) => {
      const framed = withLength(bytes);
      const read = readLength(framed);
      assert.ok(read !== undefined);
      assert.deepEqual(framed.subarray(read.at, read.at + read.length), bytes);
    }),
  );
});

test('a relay passes both directions on, what was read ahead included, and ends when both have', async () => {
  const { near, far, running } = await relayed(() => 0);
  const [a, b] = [collect(near), collect(far)];
  near.send(Buffer.from('there'));
  far.send(Buffer.from('back'));
  await near.close();
  await b.ended;
  await far.close();
  await a.ended;
  await running;
  assert.equal(a.text(), 'back');
  assert.equal(b.text(), 'there');
});

test('an anchor stops a sender whose receiver does not read, however hostile the two are', async () => {
  await using anchor = await started({ anchor: true });
  await using sink = await bareHost();
  await using source = await bareHost();
  const [address = ''] = anchor.overlay.addresses();
  // the receiver reserves, answers every STOP with OK, and never reads again
  await sink.libp2p.handle(
    STOP_PROTOCOL,
    async (stream) => {
      const stop = new RelayStream(stream);
      await stop.read(soon());
      stop.write(Uint8Array.of(0x08, 0x01, 0x20, 0x64));
      stream.pause();
    },
    { force: true },
  );
  const reserving = new RelayStream(
    await (await sink.dial(address, soon())).newStream(HOP_PROTOCOL, { signal: soon() }),
  );
  reserving.write(encodeReserve());
  assert.equal(decodeHopStatus(await reserving.read(soon())).status, RELAY_STATUS.ok);
  const stream = await (await source.dial(address, soon())).newStream(HOP_PROTOCOL, { signal: soon() });
  const hop = new RelayStream(stream);
  const connect = encodeStopConnect(sink.key.peerId);
  connect[1] = 1;
  hop.write(connect);
  assert.equal(decodeHopStatus(await hop.read(soon())).status, RELAY_STATUS.ok);
  let sent = 0;
  const chunk = new Uint8Array(64 * 1024);
  for (let i = 0; i < 300 && stream.writeBufferLength < 1024 * 1024; i++) {
    stream.send(chunk);
    sent += chunk.length;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const taken = sent - stream.writeBufferLength;
  assert.ok(stream.writeBufferLength >= 1024 * 1024, 'the sender was stopped');
  assert.ok(taken < 1024 * 1024, `${taken} bytes were taken`);
});

test('a broken side breaks the other', async () => {
  const { near, far, running } = await relayed(() => 0);
  const closed = new Promise<void>((resolve) => far.addEventListener('close', () => resolve()));
  near.abort(new Error('gone'));
  await closed;
  await running;
});

test('a throttled peer waits, the bytes still arrive', async () => {
  let waits = 0;
  const { near, far } = await relayed(() => (waits++ < 3 ? 20 : 0));
  const reader = collect(far);
  for (let i = 0; i < 5; i++) near.send(Buffer.from(`${i}`));
  await until(() => reader.text() === '01234', 'all arrives');
  assert.ok(waits > 0);
});

test('the bucket allows its rate, and one second at once', () => {
  const clock = createManualClock();
  const bucket = new TokenBucket(clock, 1000);
  assert.equal(bucket.take(1000), 0);
  assert.equal(bucket.take(500), 500);
  clock.advance(500);
  assert.equal(bucket.take(1), 1);
  clock.advance(10_000);
  assert.equal(bucket.take(1000), 0);
  assert.equal(bucket.take(1), 1);
});

interface Relayed {
  readonly near: Stream;
  readonly far: Stream;
  readonly running: Promise<void>;
}

/** near ↔ relay ↔ far, after one relay message on each side that is followed by bytes at once. */
async function relayed(throttle: (bytes: number) => number): Promise<Relayed> {
  const [near, hop] = await streamPair();
  const [far, stop] = await streamPair();
  const [from, to] = [new RelayStream(hop), new RelayStream(stop)];
  near.send(withLength(encodeReserve()));
  assert.deepEqual(decodeHopRequest(await from.read(soon())), { kind: 'reserve' });
  return { near, far, running: relay(systemClock, { from, throttle }, { from: to, throttle: () => 0 }) };
}

function collect(stream: Stream): { text(): string; bytes(): number; readonly ended: Promise<void> } {
  const chunks: Uint8Array[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.addEventListener('message', ({ data }) => void chunks.push(data.subarray()));
  stream.addEventListener('end', () => resolve());
  return {
    text: () => Buffer.concat(chunks).toString(),
    bytes: () => chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    ended: promise,
  };
}
