/** The owner key of whoever runs the command, opened for signing. */
import { MoatError, isMoatError } from '@moat/core';
import { isSealed, openOwnerKey, readPrivateFile, type OwnerKeyPair } from '@moat/identity';
import type { Context } from '../context.ts';
import { resolvePath } from '../input/files.ts';
import type { VerbOption } from '../verb.ts';
import { PASSPHRASE_OPTION, passphraseFromFile } from './passphrase.ts';

export interface OwnerOptions {
  readonly key?: string;
  readonly passphraseFile?: string;
}

export const OWNER_OPTIONS: readonly VerbOption[] = [
  { flags: '--key <file>', text: 'owner key file', env: 'MOAT_OWNER_KEY_FILE' },
  PASSPHRASE_OPTION,
];

export function ownerKeyPath({ io, paths }: Context, options: { readonly key?: string }): string {
  return options.key === undefined ? paths.ownerKey : resolvePath(io, options.key);
}

/**
 * @throws `KEY_FILE_MISSING`, `KEY_FILE_EXPOSED`, `KEY_FILE_INVALID`, `PASSPHRASE_WRONG`, `CONFIRMATION_NEEDED`
 * when it is sealed and there is neither a file nor a terminal.
 */
export async function openOwner(context: Context, options: OwnerOptions): Promise<OwnerKeyPair> {
  const text = await readOwnerKeyFile(ownerKeyPath(context, options));
  if (!isSealed(text)) return openOwnerKey(text, null);
  const passphrase =
    (await passphraseFromFile(context, options.passphraseFile)) ??
    (await context.prompt.secret('Passphrase of the owner key', { flag: '--passphrase-file FILE' }));
  return openOwnerKey(text, passphrase);
}

/** @throws `KEY_FILE_MISSING` with the way to make one. */
export async function readOwnerKeyFile(path: string): Promise<string> {
  try {
    return await readPrivateFile(path);
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
    throw new MoatError('KEY_FILE_MISSING', `there is no owner key at ${path}`, {
      cause: error,
      reason: 'a version of a deployment is signed with the key of an owner',
      next: [
        'name yours with --key FILE',
        'moat key new',
        'moat key recover   makes one in the place of a lost one, by the 24 words',
      ],
    });
  }
}
