/** The public half of the owner key at hand: needs no passphrase. */
import type { OwnerKey } from '@moat/core';
import type { Context } from '../context.ts';
import { ownerKeyPath, readOwnerKeyFile } from './open-owner.ts';

/** @throws `KEY_FILE_MISSING`, `KEY_FILE_EXPOSED` */
export async function readOwnerPublicKey(context: Context, options: { readonly key?: string }): Promise<OwnerKey> {
  const text = await readOwnerKeyFile(ownerKeyPath(context, options));
  return (JSON.parse(text) as { readonly key: OwnerKey }).key;
}
