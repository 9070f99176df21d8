/** `moat password USER`: a line for the file of users behind HTTP Basic. The password is read, never an argument. */
import { formatBasicUser, parseBasicUsers } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { randomBytes, scrypt } from 'node:crypto';
import { PASSWORD_OPTION, readPassword } from '../input/password.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

/** 16 MiB and about 50 ms a check. */
const COST = { log2N: 14, r: 8, p: 1 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;

export function addPassword(program: Command, runner: VerbRunner): void {
  addVerb<{ readonly passwordFile?: string }>(
    program,
    runner,
    {
      usage: 'password <user>',
      summary: 'a line for the file that auth: { basic: { file } } names',
      group: 'Publish',
      examples: [
        ['moat password ana >> users', 'asks for the password'],
        ['moat password ana --password-file - < secret >> users', 'from stdin'],
      ],
      options: [PASSWORD_OPTION],
    },
    async (context, [user = ''], { passwordFile }) => {
      if (!/^[^\s:$#\p{Cc}][^:\p{Cc}]{0,127}$/u.test(user)) {
        throw new MoatError('USAGE', 'a user has 1 to 128 characters, without a colon', {
          next: ['moat password ana'],
        });
      }
      const password = await readPassword(context, `Password of ${user}`, { file: passwordFile });
      const line = await lineOf(user, password);
      // What no gateway would read is not written.
      parseBasicUsers(line);
      return { kind: 'password', data: { user, line }, text: line };
    },
  );
}

function lineOf(user: string, password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const { log2N, r, p } = COST;
  return new Promise((resolve, reject) => {
    scrypt(password, salt, HASH_BYTES, { N: 2 ** log2N, r, p }, (error, hash) => {
      if (error) reject(error);
      else resolve(formatBasicUser(user, { ...COST, salt, hash }));
    });
  });
}
