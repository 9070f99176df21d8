/** What an open says of its connection: both ways, and what is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Arrival } from '@moat/core';
import { silentLogger, systemClock } from '@moat/core';
import { createChannelPair } from '@moat/testkit';
import fc from 'fast-check';
import { decodeArrival, encodeArrival } from '../src/arrival.ts';
import { Session } from '../src/session.ts';
import { Recorder } from './recorder.ts';

const NONE = Buffer.alloc(0);
const ARRIVALS: readonly Arrival[] = [
  {},
  { servername: 'shop.apps.example.com' },
  { client: { host: '203.0.113.9', port: 51_234 }, server: { host: '192.0.2.1', port: 443 }, servername: 'a.b' },
  { client: { host: '2001:db8::1', port: 65_535 }, server: { host: '::', port: 1 } },
  { client: { host: '1.2.3.4', port: 0 } },
];

test('an arrival is the same on the other side', () => {
  for (const arrival of ARRIVALS) {
    const bytes = encodeArrival(arrival, Buffer.from('prefix'));
    assert.equal(bytes.toString('latin1', 0, 6), 'prefix');
    assert.deepEqual(decodeArrival(bytes.subarray(6)), arrival);
  }
});

test('what is no address or no name is not sent', () => {
  for (const arrival of [
    { client: { host: 'example.com', port: 1 } },
    { client: { host: 'fe80::1%eth0', port: 1 } },
    { client: { host: '1.2.3.4', port: 65_536 } },
    { servername: 'Shop.example' },
    { servername: 'a b' },
    { servername: `${'a'.repeat(64)}.example` },
  ]) {
    assert.throws(() => encodeArrival(arrival, NONE), { code: 'HEAD_INVALID' });
  }
});

test('cut, prolonged and random bytes are refused or are an arrival', () => {
  const whole = encodeArrival(ARRIVALS[2] ?? {}, NONE);
  for (let length = 0; length < whole.length; length++) {
    assert.throws(() => decodeArrival(whole.subarray(0, length)), { code: 'HEAD_INVALID' }, `${length}`);
  }
  assert.throws(() => decodeArrival(Buffer.concat([whole, Buffer.of(0)])), { code: 'HEAD_INVALID' });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        const arrival = decodeArrival(Buffer.from(bytes));
        assert.deepEqual(decodeArrival(encodeArrival(arrival, NONE)), arrival);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'HEAD_INVALID');
      }
    }),
  );
});

test('an accepting side sees the arrival of a tcp stream', async () => {
  const channels = createChannelPair();
  const seen = Promise.withResolvers<Arrival | undefined>();
  const deps = { clock: systemClock, logger: silentLogger };
  const dialer = new Session(
    { ...deps, channel: channels.a, accept: (stream) => stream.reset('SERVICE_UNKNOWN') },
    { peer: '12D3KooWPeer', path: 'direct', dialer: true },
  );
  const acceptor = new Session(
    {
      ...deps,
      channel: channels.b,
      accept: (stream) => {
        seen.resolve(stream.arrival);
        stream.reset('SERVICE_UNKNOWN');
      },
    },
    { peer: '12D3KooWPeer', path: 'direct', dialer: false },
  );
  const request = { deployment: 'a'.repeat(26), service: 'db', kind: 'tcp' } as const;
  const opened = new Recorder(dialer.open(request, undefined, ARRIVALS[2]));
  assert.deepEqual(await seen.promise, ARRIVALS[2]);
  assert.equal(await opened.closed, 'SERVICE_UNKNOWN');
  dialer.close('TEST_OVER');
  acceptor.close('TEST_OVER');
});
