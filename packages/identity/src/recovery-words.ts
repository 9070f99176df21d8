/**
 * An owner's seed as 24 words a person can write down: BIP 39 with the English list, the entropy itself being
 * the Ed25519 seed. No passphrase and no derivation: the words are the key.
 */
import { MoatError } from '@moat/core';
import { entropyToMnemonic, mnemonicToEntropy } from '@scure/bip39';
import { wordlist } from '@scure/bip39/wordlists/english.js';
import { SEED_BYTES } from './ed25519.ts';

const WORDS = 24;
/** 24 words of at most 8 letters and room for generous spacing. */
const MAX_CHARS = 1024;

/**
 * 24 words, separated by single spaces. They are the private key: show them once, keep them nowhere.
 * @throws `KEY_FILE_INVALID` unless `seed` has 32 bytes.
 */
export function wordsOfSeed(seed: Uint8Array): string {
  if (seed.length !== SEED_BYTES) {
    throw new MoatError('KEY_FILE_INVALID', `an owner key's seed has ${SEED_BYTES} bytes`);
  }
  return entropyToMnemonic(Uint8Array.from(seed), wordlist);
}

/**
 * The seed of these words; case, numbering (`1.`) and white space do not matter.
 * @returns 32 bytes, for `ownerKeyFromSeed`; wipe them (`fill(0)`) when done.
 * @throws `RECOVERY_WORDS_INVALID`; the message names the position of an unknown word, never a word.
 */
export function seedOfWords(text: string): Uint8Array {
  if (text.length > MAX_CHARS) throw invalid(`recovery words are ${WORDS} short words`);
  const words = text
    .normalize('NFKD')
    .toLowerCase()
    .split(/\s+/)
    .map((word) => word.replace(/^\d{1,2}[.)]/, ''))
    .filter((word) => word !== '');
  if (words.length !== WORDS) throw invalid(`there are ${words.length} words; a recovery key has ${WORDS}`);
  const unknown = words.findIndex((word) => !wordlist.includes(word));
  if (unknown >= 0) throw invalid(`word ${unknown + 1} is not on the list`);
  try {
    return mnemonicToEntropy(words.join(' '), wordlist);
  } catch {
    // Without its cause: the library's message could quote the words.
    throw invalid('the checksum is wrong: a word is another one, or two are swapped');
  }
}

function invalid(reason: string): MoatError<'RECOVERY_WORDS_INVALID'> {
  return new MoatError('RECOVERY_WORDS_INVALID', 'these words are no recovery key', { reason });
}
