/** Where a passphrase comes from: a file, or a question that is never shown. Never an argument. */
import type { Context } from '../context.ts';
import { readTextFile } from '../input/files.ts';
import type { VerbOption } from '../verb.ts';

export const PASSPHRASE_OPTION: VerbOption = {
  flags: '--passphrase-file <file>',
  text: 'first line of this file; otherwise asked for',
  env: 'MOAT_PASSPHRASE_FILE',
};

/** The first line of the file; undefined without one. @throws `FILE_MISSING`, `FILE_UNREADABLE` */
export async function passphraseFromFile(context: Context, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const [line = ''] = (await readTextFile(context.io, file)).split(/\r?\n/, 1);
  return line;
}
