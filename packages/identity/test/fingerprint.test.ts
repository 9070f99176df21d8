import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatKey } from '@moat/core';
import { createOwnerKey, fingerprintWords } from '@moat/identity';

test('a key is six words, the same for everybody, and another key is other words', () => {
  const zero = formatKey('ed25519', new Uint8Array(32));
  assert.equal(fingerprintWords(zero), fingerprintWords(zero));
  assert.match(fingerprintWords(zero), /^[a-z]+(?: [a-z]+){5}$/);
  const seen = new Set(Array.from({ length: 100 }, () => fingerprintWords(createOwnerKey().key)));
  assert.equal(seen.size, 100);
  assert.throws(() => fingerprintWords('ed25519:short'));
});
