/** The passphrase of a key that is to be made. */
import type { Context } from '../context.ts';
import { passphraseFromFile } from './passphrase.ts';

/** From a file or a question; null (a plain file) when asked for, or when nobody can be asked. */
export async function choosePassphrase(
  context: Context,
  options: { readonly passphraseFile?: string; readonly plain?: boolean },
): Promise<string | null> {
  const fromFile = await passphraseFromFile(context, options.passphraseFile);
  if (fromFile !== undefined) return fromFile;
  if (options.plain === true || !context.prompt.interactive) return null;
  const flag = '--passphrase-file FILE';
  for (;;) {
    const first = await context.prompt.secret('Passphrase for the new owner key (empty = none)', { flag });
    if (first === '') return null;
    if ((await context.prompt.secret('The same again', { flag })) === first) return first;
    context.progress.say('  They differ; once more, from the start.');
  }
}
