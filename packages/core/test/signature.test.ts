import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { signerFromKey, verifySignature } from '../src/index.ts';

/** RFC 8032 §7.1, test 1: the key of the signer below must be its public key. */
const RFC8032_SEED = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60';
const RFC8032_PUBLIC = 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a';

test('signerFromKey() shows the raw public key (RFC 8032 vector)', () => {
  const der = Buffer.from(`302e020100300506032b657004220420${RFC8032_SEED}`, 'hex');
  const signer = signerFromKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  assert.equal(Buffer.from(signer.publicKey).toString('hex'), RFC8032_PUBLIC);
});

test('verifySignature() takes the same domain, bytes and key only', () => {
  const signer = signerFromKey(generateKeyPairSync('ed25519').privateKey);
  const other = signerFromKey(generateKeyPairSync('ed25519').privateKey);
  const bytes = Buffer.from('what is signed');
  const signature = signer.sign('moat/head/1', bytes);
  assert.ok(verifySignature('moat/head/1', bytes, signature, signer.publicKey));
  assert.ok(!verifySignature('moat/claim/1', bytes, signature, signer.publicKey));
  assert.ok(!verifySignature('moat/head/1', Buffer.from('something else'), signature, signer.publicKey));
  assert.ok(!verifySignature('moat/head/1', bytes, signature, other.publicKey));
  // The domain ends with a zero byte, so no byte can move between domain and message.
  assert.ok(!verifySignature('moat/head/', Buffer.concat([Buffer.from('1'), bytes]), signature, signer.publicKey));
});

test('verifySignature() never throws', () => {
  fc.assert(
    fc.property(fc.string(), fc.uint8Array({ maxLength: 40 }), (signature, key) => {
      assert.equal(verifySignature('moat/head/1', new Uint8Array(3), signature, key), false);
    }),
  );
});
