/** A password that the command is to work with: from a file, stdin or a question that is never shown. Never an argument. */
import { MoatError } from '@moat/core';
import type { Context } from '../context.ts';
import type { VerbOption } from '../verb.ts';
import { readFileOrStdin } from './files.ts';

export const PASSWORD_OPTION: VerbOption = {
  flags: '--password-file <file>',
  text: 'first line of this file, - for stdin; otherwise asked for',
};

const MAX_BYTES = 512;

export interface PasswordOptions {
  readonly file?: string | undefined;
  /** Asked for twice: what is typed wrong cannot be found out later. @defaultValue false */
  readonly again?: boolean;
}

/** @throws `PASSPHRASE_EMPTY`, `CONFIRMATION_NEEDED` without a file and a terminal, and what reading the file ends with */
export async function readPassword(
  { io, prompt, progress }: Context,
  question: string,
  { file, again = false }: PasswordOptions,
): Promise<string> {
  const ask = (what: string): Promise<string> => prompt.secret(what, { flag: '--password-file FILE' });
  if (file !== undefined) return checked((await readFileOrStdin(io, file)).split(/\r?\n/, 1)[0] ?? '');
  for (;;) {
    const password = checked(await ask(question));
    if (!again || (await ask('The same again')) === password) return password;
    progress.say('  They differ; once more, from the start.');
  }
}

function checked(password: string): string {
  if (password !== '' && Buffer.byteLength(password) <= MAX_BYTES) return password;
  throw new MoatError('PASSPHRASE_EMPTY', `a password has 1 to ${MAX_BYTES} bytes`);
}
