/**
 * The text of an owner key file. Sealed: the seed under AES-256-GCM with a key from scrypt (RFC 7914), every other
 * field as associated data, so none can be altered. Without a passphrase: the seed in the clear, for dev, `home` and bots.
 */
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto';
import { MoatError, fromBase64url, parseKey, toBase64url } from '@moat/core';
import { SEED_BYTES } from './ed25519.ts';
import { ownerKeyFromSeed, type OwnerKeyPair } from './owner-key.ts';

const TYPE = 'moat/owner-key/1';
const MAX_TEXT_LENGTH = 4096;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const R = 8;
const P = 1;
/** 2^14 is scrypt's floor for logins, 2^18 needs 256 MiB: a file cannot ask for less safety or for more memory. */
const MIN_LOG_N = 14;
const MAX_LOG_N = 18;

export interface SealOptions {
  /** log2 of scrypt's N, 14–18; 17 takes 128 MiB and about half a second. @defaultValue 17 */
  readonly logN?: number;
}

interface Header {
  readonly key: string;
  readonly logN: number;
  readonly salt: Uint8Array;
  readonly nonce: Uint8Array;
}

/**
 * The JSON text of `pair`'s key file; `passphrase` null leaves it plain. A passphrase counts in Unicode form NFC,
 * so that it opens the file from any keyboard.
 * @throws `PASSPHRASE_EMPTY`
 */
export function sealOwnerKey(pair: OwnerKeyPair, passphrase: string | null, options: SealOptions = {}): string {
  const seed = pair.exportSeed();
  try {
    if (passphrase === null) return toText({ type: TYPE, key: pair.key, seed: toBase64url(seed) });
    if (passphrase === '') throw new MoatError('PASSPHRASE_EMPTY', 'the passphrase is empty');
    const logN = Math.min(MAX_LOG_N, Math.max(MIN_LOG_N, options.logN ?? 17));
    const header: Header = { key: pair.key, logN, salt: randomBytes(SALT_BYTES), nonce: randomBytes(NONCE_BYTES) };
    const cipher = createCipheriv('aes-256-gcm', deriveKey(passphrase, header), header.nonce);
    cipher.setAAD(associatedData(header));
    const sealed = Buffer.concat([cipher.update(seed), cipher.final(), cipher.getAuthTag()]);
    return toText({
      type: TYPE,
      key: pair.key,
      kdf: { name: 'scrypt', n: 2 ** logN, r: R, p: P, salt: toBase64url(header.salt) },
      cipher: { name: 'aes-256-gcm', nonce: toBase64url(header.nonce) },
      sealed: toBase64url(sealed),
    });
  } finally {
    seed.fill(0);
  }
}

/**
 * The key pair in the text of a key file. A plain file opens with any passphrase.
 * @throws `KEY_LOCKED` when it is sealed and `passphrase` is null, `PASSPHRASE_WRONG`, `KEY_FILE_INVALID`
 */
export function openOwnerKey(text: string, passphrase: string | null): OwnerKeyPair {
  const file = parseFields(text);
  if ('seed' in file) return matching(file.key, decode(file.seed, SEED_BYTES));
  const { header, sealed } = parseSealed(file);
  if (passphrase === null) {
    throw new MoatError('KEY_LOCKED', 'the owner key is sealed and needs its passphrase', {
      details: { key: header.key },
    });
  }
  const decipher = createDecipheriv('aes-256-gcm', deriveKey(passphrase, header), header.nonce, {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(associatedData(header));
  decipher.setAuthTag(sealed.subarray(SEED_BYTES));
  let seed: Uint8Array;
  try {
    seed = Buffer.concat([decipher.update(sealed.subarray(0, SEED_BYTES)), decipher.final()]);
  } catch (cause) {
    throw new MoatError('PASSPHRASE_WRONG', 'the passphrase does not open this key file', {
      cause,
      details: { key: header.key },
    });
  }
  return matching(header.key, seed);
}

/** True when the text is of a sealed key file, so that a passphrase is worth asking for. @throws `KEY_FILE_INVALID` */
export function isSealed(text: string): boolean {
  return !('seed' in parseFields(text));
}

function matching(key: unknown, seed: Uint8Array): OwnerKeyPair {
  const pair = ownerKeyFromSeed(seed);
  seed.fill(0);
  if (pair.key !== key) throw invalid('its public key belongs to another private key');
  return pair;
}

function parseFields(text: string): Record<string, unknown> {
  if (text.length > MAX_TEXT_LENGTH) throw invalid(`longer than ${MAX_TEXT_LENGTH} characters`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which may hold a seed.
    throw invalid('not JSON');
  }
  const file = fields(value, 'the file');
  if (file['type'] !== TYPE) throw invalid(`its type is not ${TYPE}`);
  exactly(file, 'seed' in file ? ['type', 'key', 'seed'] : ['type', 'key', 'kdf', 'cipher', 'sealed']);
  return file;
}

function parseSealed(file: Record<string, unknown>): { header: Header; sealed: Uint8Array } {
  const kdf = exactly(fields(file['kdf'], 'kdf'), ['name', 'n', 'r', 'p', 'salt']);
  const cipher = exactly(fields(file['cipher'], 'cipher'), ['name', 'nonce']);
  const logN = typeof kdf['n'] === 'number' ? Math.log2(kdf['n']) : NaN;
  if (kdf['name'] !== 'scrypt' || kdf['r'] !== R || kdf['p'] !== P) throw invalid('its key derivation is not ours');
  // By the power, since Math.log2 rounds: n itself is not part of the associated data.
  if (!Number.isInteger(logN) || 2 ** logN !== kdf['n'] || logN < MIN_LOG_N || logN > MAX_LOG_N) {
    throw invalid('scrypt n is out of range');
  }
  if (cipher['name'] !== 'aes-256-gcm') throw invalid('its cipher is not ours');
  const header = {
    key: publicKey(file['key']),
    logN,
    salt: decode(kdf['salt'], SALT_BYTES),
    nonce: decode(cipher['nonce'], NONCE_BYTES),
  };
  return { header, sealed: decode(file['sealed'], SEED_BYTES + TAG_BYTES) };
}

function fields(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${name} is not an object`);
  return value as Record<string, unknown>;
}

function exactly(value: Record<string, unknown>, names: readonly string[]): Record<string, unknown> {
  const found = Object.keys(value);
  if (found.length !== names.length || !names.every((name) => Object.hasOwn(value, name))) {
    throw invalid('it has unknown or missing fields');
  }
  return value;
}

function publicKey(value: unknown): string {
  try {
    if (typeof value === 'string' && parseKey('ed25519', value).length === 32) return value;
  } catch {
    // falls through to the one error below
  }
  throw invalid('key is not an Ed25519 public key');
}

function decode(value: unknown, length: number): Uint8Array {
  try {
    if (typeof value === 'string') {
      const bytes = fromBase64url(value);
      if (bytes.length === length) return bytes;
    }
  } catch {
    // falls through to the one error below
  }
  throw invalid(`a field is not base64url of ${length} bytes`);
}

function deriveKey(passphrase: string, { logN, salt }: Header): Uint8Array {
  // scrypt takes 128·N·r bytes; Node counts a little more.
  return scryptSync(passphrase.normalize('NFC'), salt, 32, { N: 2 ** logN, r: R, p: P, maxmem: 256 * 2 ** logN * R });
}

/** Every header field in fixed order; JSON quoting keeps the parts apart. */
function associatedData({ key, logN, salt, nonce }: Header): Uint8Array {
  return Buffer.from(
    JSON.stringify([TYPE, key, 'scrypt', logN, R, P, toBase64url(salt), 'aes-256-gcm', toBase64url(nonce)]),
  );
}

function toText(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function invalid(reason: string): MoatError<'KEY_FILE_INVALID'> {
  return new MoatError('KEY_FILE_INVALID', `not an owner key file: ${reason}`, { reason });
}
