/** The public half of the owner key at hand: needs no passphrase. */
import { MoatError, parseKey, type OwnerKey } from '@moat/core';
import { isSealed } from '@moat/identity';
import type { Context } from '../context.ts';
import { ownerKeyPath, readOwnerKeyFile } from './open-owner.ts';

/** @throws `KEY_FILE_MISSING`, `KEY_FILE_EXPOSED`, `KEY_FILE_INVALID` */
export async function readOwnerPublicKey(context: Context, options: { readonly key?: string }): Promise<OwnerKey> {
  return publicHalf(await readOwnerKeyFile(ownerKeyPath(context, options)));
}

/** Of a key file's text, sealed or plain. @throws `KEY_FILE_INVALID` */
export function publicHalf(text: string): OwnerKey {
  // Looks at the form of the whole file first.
  isSealed(text);
  const { key } = JSON.parse(text) as { readonly key?: unknown };
  try {
    parseKey('ed25519', String(key));
    return String(key);
  } catch (cause) {
    throw new MoatError('KEY_FILE_INVALID', 'not an owner key file: it names no public key', { cause });
  }
}
