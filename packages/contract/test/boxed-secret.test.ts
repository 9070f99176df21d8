import assert from 'node:assert/strict';
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  createDecipheriv,
  diffieHellman,
} from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatKey, fromBase64url, isMoatError, toBase64url } from '@moat/core';
import { boxSecret, canonicalize, openSecret, secretDigest } from '@moat/contract';
import { deployment } from './deployment.fixture.ts';

const gateway = generateKeyPairSync('x25519');
const rawPublic = (key: typeof gateway.publicKey): Uint8Array =>
  key.export({ type: 'spki', format: 'der' }).subarray(12);
const box = formatKey('x25519', rawPublic(gateway.publicKey));
const salt = toBase64url(new Uint8Array(16).fill(1));
const context = { deployment, name: 'shop', salt };
const secret = Buffer.from('ana:$2y$10$abcdefghijklmnopqrstuv\n');
const boxed = boxSecret(secret, { ...context, box });

test('only the gateway it is boxed for opens a secret', () => {
  assert.deepEqual(Buffer.from(openSecret(boxed, gateway.privateKey, context)), secret);
  assert.equal(boxed.digest, secretDigest(secret, salt));
  const other = generateKeyPairSync('x25519');
  assert.throws(() => openSecret(boxed, other.privateKey, context), { code: 'SECRET_UNREADABLE' });
  assert.ok(!JSON.stringify(boxed).includes('ana'));
});

test('a box cannot be moved to another name, deployment or salt', () => {
  for (const change of [
    { name: 'shop-2' },
    { deployment: 'a'.repeat(26) },
    { salt: toBase64url(new Uint8Array(16)) },
  ]) {
    assert.throws(() => openSecret(boxed, gateway.privateKey, { ...context, ...change }), {
      code: 'SECRET_UNREADABLE',
    });
  }
});

test('a box that was altered or has another digest is not opened', () => {
  const bytes = fromBase64url(boxed.box);
  for (let i = 0; i < bytes.length; i += 7) {
    const flipped = Uint8Array.from(bytes);
    flipped[i] = (flipped[i] ?? 0) ^ 1;
    assert.throws(() => openSecret({ ...boxed, box: toBase64url(flipped) }, gateway.privateKey, context), {
      code: 'SECRET_UNREADABLE',
    });
  }
  for (const length of [0, 31, 44, 59, bytes.length - 1]) {
    const cut = { ...boxed, box: toBase64url(bytes.subarray(0, length)) };
    assert.throws(() => openSecret(cut, gateway.privateKey, context), { code: 'SECRET_UNREADABLE' });
  }
  // A member who swaps the digest would make `apply` believe the file had not changed.
  const digest = secretDigest(Buffer.from('other'), salt);
  assert.throws(() => openSecret({ ...boxed, digest }, gateway.privateKey, context), { code: 'SECRET_UNREADABLE' });
  // The all-zero point gives everybody the same shared secret.
  const zero = { ...boxed, box: toBase64url(Buffer.concat([Buffer.alloc(32), bytes.subarray(32)])) };
  assert.throws(() => openSecret(zero, gateway.privateKey, context), { code: 'SECRET_UNREADABLE' });
});

test('the construction is X25519, HKDF-SHA256 over both keys, AES-256-GCM with deployment and name', () => {
  const ephemeralSeed = Buffer.alloc(32, 5);
  const nonce = Buffer.alloc(12, 6);
  const fixed = boxSecret(secret, { ...context, box }, (count) => (count === 32 ? ephemeralSeed : nonce));
  const bytes = Buffer.from(fixed.box, 'base64url');
  const ephemeral = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), ephemeralSeed]),
    format: 'der',
    type: 'pkcs8',
  });
  const sender = rawPublic(createPublicKey(ephemeral));
  assert.deepEqual(bytes.subarray(0, 32), Buffer.from(sender));
  assert.deepEqual(bytes.subarray(32, 44), nonce);
  const shared = diffieHellman({ privateKey: ephemeral, publicKey: gateway.publicKey });
  const key = hkdfSync('sha256', shared, Buffer.concat([sender, rawPublic(gateway.publicKey)]), 'moat/box/1', 32);
  const decipher = createDecipheriv('aes-256-gcm', Buffer.from(key), nonce);
  decipher.setAAD(Buffer.from(canonicalize({ type: 'moat/box/1', deployment, name: 'shop' })));
  decipher.setAuthTag(bytes.subarray(-16));
  assert.deepEqual(Buffer.concat([decipher.update(bytes.subarray(44, -16)), decipher.final()]), secret);
});

test('two boxes of one secret share nothing but the digest', () => {
  const again = boxSecret(secret, { ...context, box });
  assert.notEqual(again.box, boxed.box);
  assert.equal(again.digest, boxed.digest);
});

test('a secret has a size and its gateway a key', () => {
  assert.throws(() => boxSecret(new Uint8Array(16_385), { ...context, box }), { code: 'CONTRACT_INVALID' });
  assert.throws(() => boxSecret(secret, { ...context, box: 'x25519:short' }), { code: 'ID_INVALID' });
  assert.throws(() => boxSecret(secret, { ...context, box: `x25519:${toBase64url(new Uint8Array(32))}` }), {
    code: 'CONTRACT_INVALID',
  });
});

test('any secret makes the round trip, any box ends in a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 512 }), (bytes) => {
      const opened = openSecret(boxSecret(bytes, { ...context, box }), gateway.privateKey, context);
      assert.deepEqual(Buffer.from(opened), Buffer.from(bytes));
    }),
    { numRuns: 50 },
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      assert.throws(
        () => openSecret({ box: text, digest: boxed.digest }, gateway.privateKey, context),
        (error) => isMoatError(error, 'SECRET_UNREADABLE'),
      );
    }),
  );
});
