/** A WireGuard key: Curve25519, made on the machine, kept in a file only its agent may read, as `wg genkey` prints it. */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { MoatError, isMoatError } from '@moat/core';
import { readPrivateFile, writePrivateFile } from './private-file.ts';

/** 32 bytes in base64, as `wg` reads and prints them. */
export interface WireguardKey {
  readonly publicKey: string;
  /** Never log or send it. */
  export(): string;
}

/** What stands before the 32 bytes in PKCS#8 (RFC 8410 §7). */
const PKCS8_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');
const KEY_TEXT = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

export function createWireguardKey(): WireguardKey {
  const { privateKey } = generateKeyPairSync('x25519');
  const bytes = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32);
  // RFC 7748 §5: the kernel shows a key with these bits set, and it has to be the one in the file.
  bytes.writeUInt8(bytes.readUInt8(0) & 0xf8, 0);
  bytes.writeUInt8((bytes.readUInt8(31) & 0x7f) | 0x40, 31);
  return parseWireguardKey(bytes.toString('base64'));
}

/** Reads what `wg genkey` prints. @throws `KEY_FILE_INVALID` */
export function parseWireguardKey(text: string): WireguardKey {
  const line = text.trim();
  if (!KEY_TEXT.test(line))
    throw new MoatError('KEY_FILE_INVALID', 'not a WireGuard key: expected 44 characters of base64');
  const key = createPrivateKey({
    key: Buffer.concat([PKCS8_X25519, Buffer.from(line, 'base64')]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicKey = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64');
  return { publicKey, export: () => line };
}

/** The key at `path`; undefined where there is no file. @throws `KEY_FILE_EXPOSED`, `KEY_FILE_INVALID`, `KEY_FILE_UNREADABLE` */
export async function readWireguardKey(path: string): Promise<WireguardKey | undefined> {
  try {
    return parseWireguardKey(await readPrivateFile(path));
  } catch (error) {
    if (isMoatError(error, 'KEY_FILE_MISSING')) return undefined;
    throw error;
  }
}

/**
 * The key at `path`, made and written (0600, durable before it is returned) when there is none.
 * Two that ask at once end up with the same key.
 * @throws `KEY_FILE_EXPOSED`, `KEY_FILE_INVALID`, `KEY_FILE_UNREADABLE`, `KEY_FILE_UNWRITABLE`
 */
export async function loadOrCreateWireguardKey(path: string): Promise<WireguardKey> {
  const known = await readWireguardKey(path);
  if (known !== undefined) return known;
  const created = createWireguardKey();
  try {
    await writePrivateFile(path, `${created.export()}\n`, { replace: false });
    return created;
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_EXISTS')) throw error;
    return parseWireguardKey(await readPrivateFile(path));
  }
}
