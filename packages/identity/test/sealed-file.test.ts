import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { isMoatError, toBase64url, verifySignature } from '@moat/core';
import {
  IDENTITY_ERROR_CODES,
  createOwnerKey,
  isSealed,
  openOwnerKey,
  ownerKeyFromSeed,
  sealOwnerKey,
} from '@moat/identity';
import fc from 'fast-check';

/** The cheapest derivation a file may ask for. */
const CHEAP = { logN: 14 };

const coded =
  (code: string) =>
  (error: unknown): boolean =>
    isMoatError(error, code);

interface SealedFile {
  key: string;
  kdf: { name: string; n: number; salt: string };
  cipher: { nonce: string };
  sealed: string;
}

function altered(text: string, alter: (file: SealedFile) => void): string {
  const file = JSON.parse(text) as SealedFile;
  alter(file);
  return JSON.stringify(file);
}

describe('owner key', () => {
  it('signs as its public key says, and grows again from its seed', () => {
    const pair = createOwnerKey();
    const again = ownerKeyFromSeed(pair.exportSeed());
    assert.equal(again.key, pair.key);
    const bytes = Buffer.from('head');
    assert.ok(verifySignature('moat/head/1', bytes, again.signer.sign('moat/head/1', bytes), pair.signer.publicKey));
  });

  it('is the key RFC 8032 §7.1 test 1 gives for its seed', () => {
    const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
    const publicKey = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
    assert.equal(ownerKeyFromSeed(seed).key, `ed25519:${toBase64url(publicKey)}`);
  });

  it('does not show its private half when printed', () => {
    const pair = createOwnerKey();
    const seed = toBase64url(pair.exportSeed());
    assert.ok(!inspect(pair, { depth: 9, showHidden: true }).includes(seed));
    assert.ok(!JSON.stringify(pair).includes(seed));
  });

  it('needs 32 bytes of seed', () => {
    assert.throws(() => ownerKeyFromSeed(new Uint8Array(31)), coded('KEY_FILE_INVALID'));
  });
});

describe('owner key file', () => {
  const pair = createOwnerKey();
  const sealed = sealOwnerKey(pair, 'correct horse', CHEAP);
  const plain = sealOwnerKey(pair, null);

  it('opens with its passphrase and with no other', () => {
    const opened = openOwnerKey(sealed, 'correct horse');
    assert.equal(opened.key, pair.key);
    assert.deepEqual(opened.exportSeed(), pair.exportSeed());
    assert.ok(isSealed(sealed));
    assert.ok(!sealed.includes(toBase64url(pair.exportSeed())));
    assert.throws(() => openOwnerKey(sealed, null), coded('KEY_LOCKED'));
    assert.throws(() => openOwnerKey(sealed, 'wrong horse'), coded('PASSPHRASE_WRONG'));
    assert.throws(() => openOwnerKey(sealed, ''), coded('PASSPHRASE_WRONG'));
    assert.throws(() => sealOwnerKey(pair, ''), coded('PASSPHRASE_EMPTY'));
  });

  it('uses 2^17 rounds unless told otherwise', () => {
    assert.equal((JSON.parse(sealOwnerKey(pair, 'x')) as SealedFile).kdf.n, 2 ** 17);
  });

  it('takes a passphrase in either Unicode form', () => {
    const text = sealOwnerKey(pair, 'caf\u00e9', CHEAP);
    assert.equal(openOwnerKey(text, 'cafe\u0301').key, pair.key);
  });

  it('is plain without a passphrase', () => {
    assert.ok(!isSealed(plain));
    assert.equal(openOwnerKey(plain, null).key, pair.key);
  });

  it('is refused when a header field was altered', () => {
    const other = createOwnerKey();
    const salt = toBase64url(new Uint8Array(16));
    const nonce = toBase64url(new Uint8Array(12));
    for (const text of [
      altered(sealed, (file) => (file.key = other.key)),
      altered(sealed, (file) => (file.kdf.n = 2 ** 15)),
      altered(sealed, (file) => (file.kdf.salt = salt)),
      altered(sealed, (file) => (file.cipher.nonce = nonce)),
      altered(sealed, (file) => (file.sealed = toBase64url(new Uint8Array(48)))),
    ]) {
      assert.throws(() => openOwnerKey(text, 'correct horse'), coded('PASSPHRASE_WRONG'));
    }
    assert.throws(
      () =>
        openOwnerKey(
          altered(plain, (file) => (file.key = other.key)),
          null,
        ),
      coded('KEY_FILE_INVALID'),
    );
  });

  it('cannot ask for less safety, more memory or another algorithm', () => {
    for (const n of [2 ** 13, 2 ** 19, 2 ** 17 + 1, 2 ** 14 + 2 ** -38, -1, 0, 1e300]) {
      assert.throws(
        () =>
          openOwnerKey(
            altered(sealed, (file) => (file.kdf.n = n)),
            'x',
          ),
        coded('KEY_FILE_INVALID'),
      );
    }
    assert.throws(
      () =>
        openOwnerKey(
          altered(sealed, (file) => (file.kdf.name = 'md5')),
          'x',
        ),
      coded('KEY_FILE_INVALID'),
    );
    assert.throws(
      () =>
        openOwnerKey(
          altered(sealed, (file) => Object.assign(file, { extra: 1 })),
          'x',
        ),
      coded('KEY_FILE_INVALID'),
    );
    assert.throws(() => openOwnerKey(' '.repeat(5000), null), coded('KEY_FILE_INVALID'));
  });

  it('ends random, truncated and mangled text in a coded error that does not quote it', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 200 }),
      fc.json(),
      fc.nat(plain.length - 3).map((end) => plain.slice(0, end)),
      fc.nat(sealed.length - 3).map((end) => sealed.slice(0, end)),
      fc
        .tuple(fc.nat(plain.length - 2), fc.string({ minLength: 1, maxLength: 3 }))
        .map(([at, put]) => plain.slice(0, at) + put + plain.slice(at + 1)),
    );
    const seed = toBase64url(pair.exportSeed());
    fc.assert(
      fc.property(text, (input) => {
        try {
          openOwnerKey(input, null);
        } catch (error) {
          assert.ok(isMoatError(error));
          assert.ok(IDENTITY_ERROR_CODES.some((code) => code === error.code));
          assert.ok(!error.message.includes(seed.slice(0, 12)));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
