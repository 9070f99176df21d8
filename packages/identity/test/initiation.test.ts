import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wireguardInitiation } from '@moat/testkit';
import fc from 'fast-check';
import { createWireguardKey, initiationTestOf, isInitiation } from '../src/index.ts';

/** Sent by wireguard-go 0.0.20220316 to a peer of this key. */
const KEY = 'bdbP3pBaAtXZ6CIFR2uNM2uMqjLttwlXw0fQoCA8jkA=';
const SENT = Buffer.from(
  '0100000032bdd99348668a0111fd83f6e44f17ee2b3a8d302dc0e34c58099fa3c7bddeba6444c9324c6ab97f1d3b8dc9d4c39537d549f807' +
    '0247613ceb62c6a657c9af47afb1f12d13cb0f18a3fef371304c83cf258e15f07bacf90f5c91c0e9a39f9ba84336859885aad1e0fb85a639' +
    '4f30a9f48764e669599190f2813608c735ca298400000000000000000000000000000000',
  'hex',
);

test('a handshake that WireGuard sent is known by the key it is for, and by no other', () => {
  assert.ok(isInitiation(SENT));
  assert.ok(initiationTestOf(KEY)(SENT));
  assert.equal(initiationTestOf(createWireguardKey().publicKey)(SENT), undefined);
});

test('each handshake has a text of its own, which a repeated one has again', () => {
  const key = createWireguardKey().publicKey;
  const fits = initiationTestOf(key);
  const [one, two] = [wireguardInitiation(key), wireguardInitiation(key)];
  assert.equal(fits(one), fits(Buffer.from(one)));
  assert.notEqual(fits(one), fits(two));
});

test('any change of what mac1 covers, and any other length or type, is no handshake for the key', () => {
  const fits = initiationTestOf(KEY);
  for (let at = 0; at < 132; at++) {
    const changed = Buffer.from(SENT);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.equal(fits(changed), undefined, `byte ${at}`);
  }
  assert.equal(fits(SENT.subarray(0, 147)), undefined);
  assert.equal(fits(Buffer.concat([SENT, Buffer.of(0)])), undefined);
  assert.equal(fits(Buffer.alloc(0)), undefined);
});

test('random bytes fit no key and never throw', () => {
  const fits = initiationTestOf(KEY);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 160 }), fc.boolean(), (bytes, whole) => {
      const packet = whole ? Buffer.concat([SENT.subarray(0, 4), bytes, Buffer.alloc(144)]).subarray(0, 148) : bytes;
      assert.equal(fits(packet), undefined);
    }),
  );
});
