/** The key that seals the audit log; 0600 in the state directory, never in the database it seals. */
import { randomBytes } from 'node:crypto';
import { fromBase64url, isMoatError, toBase64url } from '@moat/core';
import { readPrivateFile, writePrivateFile } from '@moat/identity';

const KEY_BYTES = 32;

/** Reads the key at `path`, or makes it. @throws the codes of identity's private files */
export async function loadOrCreateAuditKey(path: string): Promise<Uint8Array> {
  try {
    return fromBase64url((await readPrivateFile(path)).trim());
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
  }
  const key = randomBytes(KEY_BYTES);
  await writePrivateFile(path, `${toBase64url(key)}\n`, { replace: false });
  return key;
}
