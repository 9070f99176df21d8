import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMoatError } from '@moat/core';
import { createOwnerKey, ownerKeyFromSeed, seedOfWords, wordsOfSeed } from '@moat/identity';

/** Published vectors of BIP 39 (Trezor's list): 256 bits of entropy. */
const VECTORS: readonly (readonly [string, string])[] = [
  ['00'.repeat(32), `${'abandon '.repeat(23)}art`],
  [
    '7f'.repeat(32),
    `${'legal winner thank year wave sausage worth useful '.repeat(2)}legal winner thank year wave sausage worth title`,
  ],
  ['ff'.repeat(32), `${'zoo '.repeat(23)}vote`],
  [
    '68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c',
    'hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple dilemma loan word shrug inflict delay length',
  ],
];

test('a seed is 24 words and back, as BIP 39 says', () => {
  for (const [hex, words] of VECTORS) {
    const seed = Buffer.from(hex, 'hex');
    assert.equal(wordsOfSeed(seed), words);
    assert.deepEqual(Buffer.from(seedOfWords(words)), seed);
  }
});

test('the words bring back the same owner key', () => {
  const owner = createOwnerKey();
  const words = wordsOfSeed(owner.exportSeed());
  assert.equal(words.split(' ').length, 24);
  assert.equal(ownerKeyFromSeed(seedOfWords(words)).key, owner.key);
  // Deterministic for ever: a paper written today opens in ten years.
  assert.equal(ownerKeyFromSeed(new Uint8Array(32)).key, 'ed25519:O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik');
});

test('case, numbers and line breaks on the paper do not matter', () => {
  const [, words = ''] = VECTORS[3] ?? [];
  const numbered = words
    .split(' ')
    .map((word, i) => `${i + 1}. ${word.toUpperCase()}`)
    .join('\n');
  assert.deepEqual(seedOfWords(`\n${numbered}\n`), seedOfWords(words));
});

test('wrong words have a code and never stand in the error', () => {
  const [, words = ''] = VECTORS[3] ?? [];
  const list = words.split(' ');
  const swapped = [list[1], list[0], ...list.slice(2)].join(' ');
  for (const [text, hint] of [
    ['', /0 words/],
    [list.slice(1).join(' '), /23 words/],
    [words.replace('gospel', 'gosple'), /word 15/],
    [swapped, /checksum/],
    [words.replace('length', 'legal'), /checksum/],
    ['word '.repeat(500), /24/],
  ] as const) {
    assert.throws(
      () => seedOfWords(text),
      (error) => {
        assert.ok(isMoatError(error, 'RECOVERY_WORDS_INVALID'));
        const said = JSON.stringify(error.toBody());
        assert.match(said, hint);
        assert.ok(!said.includes('hamster') && !said.includes('gosple'));
        return true;
      },
    );
  }
  assert.throws(() => wordsOfSeed(new Uint8Array(31)), { code: 'KEY_FILE_INVALID' });
});

test('any seed makes the round trip, any text ends in a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
      assert.deepEqual(seedOfWords(wordsOfSeed(seed)), seed);
    }),
    { numRuns: 50 },
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      assert.throws(() => seedOfWords(text), { code: 'RECOVERY_WORDS_INVALID' });
    }),
  );
});
