/** A public key as a few words, for people who compare two of them by voice. */
import { createHash } from 'node:crypto';
import { parseKey, type OwnerKey } from '@moat/core';
import { wordlist } from '@scure/bip39/wordlists/english.js';

/** 66 bits: to find another key with the same words takes longer than anybody has. */
const WORDS = 6;
const BITS_PER_WORD = 11n;

/** Six words of the BIP 39 list, from SHA-256("moat/fingerprint/1" || 0x00 || key). @throws `KEY_INVALID` */
export function fingerprintWords(key: OwnerKey): string {
  const digest = createHash('sha256').update('moat/fingerprint/1\0').update(parseKey('ed25519', key)).digest();
  let bits = BigInt(`0x${digest.toString('hex')}`) >> (256n - BigInt(WORDS) * BITS_PER_WORD);
  const words: string[] = [];
  for (let i = 0; i < WORDS; i += 1) {
    words.unshift(wordlist[Number(bits & 2047n)] ?? '');
    bits >>= BITS_PER_WORD;
  }
  return words.join(' ');
}
