import assert from 'node:assert/strict';
import { test } from 'node:test';
import { peerIdFromString } from '@libp2p/peer-id';
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys';
import fc from 'fast-check';
import {
  encodeBase32,
  formatKey,
  fromBase64url,
  isDeploymentId,
  isLabel,
  isMoatError,
  isPeerId,
  parseKey,
  peerIdFromPublicKey,
  publicKeyFromPeerId,
  toBase64url,
} from '../src/index.ts';

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

test('encodeBase32() RFC 4648 §10 vectors, lower case without padding', () => {
  const vectors: [string, string][] = [
    ['', ''],
    ['f', 'my'],
    ['fo', 'mzxq'],
    ['foo', 'mzxw6'],
    ['foob', 'mzxw6yq'],
    ['fooba', 'mzxw6ytb'],
    ['foobar', 'mzxw6ytboi'],
  ];
  for (const [input, expected] of vectors) assert.equal(encodeBase32(Buffer.from(input)), expected);
});

test('peerIdFromPublicKey() is what libp2p prints, and comes back', async () => {
  for (const fill of [0, 1, 7, 255]) {
    const key = await generateKeyPairFromSeed('Ed25519', new Uint8Array(32).fill(fill));
    const peerId = peerIdFromPublicKey(key.publicKey.raw);
    assert.equal(peerIdFromString(peerId).toString(), peerId);
    assert.deepEqual(Buffer.from(publicKeyFromPeerId(peerId)), Buffer.from(key.publicKey.raw));
  }
});

test('publicKeyFromPeerId() round trip of any key', () => {
  fc.assert(
    fc.property(bytes32, (key) => {
      assert.deepEqual(Buffer.from(publicKeyFromPeerId(peerIdFromPublicKey(key))), Buffer.from(key));
    }),
  );
});

test('ids refuse everything that is not their canonical form, by code', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 80 }), (text) => {
      if (isPeerId(text)) return;
      for (const decode of [publicKeyFromPeerId, (t: string) => parseKey('ed25519', t)]) {
        assert.throws(
          () => decode(text),
          (error) => isMoatError(error, 'ID_INVALID'),
        );
      }
    }),
  );
  const rsa = 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N';
  assert.equal(isPeerId(rsa), false);
  assert.throws(() => peerIdFromPublicKey(new Uint8Array(31)), { code: 'ID_INVALID' });
});

test('parseKey() takes its own kind only', () => {
  const key = new Uint8Array(32).fill(9);
  assert.deepEqual(Buffer.from(parseKey('x25519', formatKey('x25519', key))), Buffer.from(key));
  assert.throws(() => parseKey('ed25519', formatKey('x25519', key)), { code: 'ID_INVALID' });
  assert.throws(() => parseKey('ed25519', 'ed25519:AAAA'), { code: 'ID_INVALID' });
});

test('fromBase64url() refuses padding, other alphabets and loose bits', () => {
  assert.equal(toBase64url(fromBase64url('-_8')), '-_8');
  for (const text of ['-_8=', '+/8', '-_9', 'a', ' AAA']) {
    assert.throws(() => fromBase64url(text), { code: 'ID_INVALID' }, text);
  }
});

test('isLabel() and isDeploymentId()', () => {
  for (const good of ['a', 'web-1', '3000', 'a'.repeat(63)]) assert.ok(isLabel(good), good);
  for (const bad of ['', '-a', 'a-', 'A', 'a.b', 'a_b', 'a'.repeat(64), 'ä']) assert.ok(!isLabel(bad), bad);
  assert.ok(isDeploymentId('q7f3'.padEnd(26, 'a')));
  for (const bad of ['', 'Q'.repeat(26), '0'.repeat(26), 'a'.repeat(27)]) assert.ok(!isDeploymentId(bad), bad);
});
