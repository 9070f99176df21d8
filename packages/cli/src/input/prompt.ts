/** Questions, asked only at a terminal and on stderr. Without one, the answer must be on the command line. */
import { MoatError } from '@moat/core';
import type { Readable, Writable } from 'node:stream';
import { Interrupted, type Io } from '../io.ts';

export interface Prompt {
  /** True when somebody can answer. */
  readonly interactive: boolean;
  /** Yes or no, where no is no failure; `otherwise` without a terminal and with `--yes`. @throws an {@link Interrupted} when given up. */
  choose(question: string, options: { readonly otherwise: boolean }): Promise<boolean>;
  /**
   * @throws `CONFIRMATION_NEEDED` without a terminal, `DECLINED` on no.
   */
  confirm(question: string, facts: readonly string[]): Promise<void>;
  /** @throws `CONFIRMATION_NEEDED` without a terminal (`flag` is what to say instead), an {@link Interrupted} when given up. */
  text(question: string, options: { readonly flag: string; readonly initial?: string }): Promise<string>;
  /** Never shown. @throws as {@link text} */
  secret(question: string, options: { readonly flag: string }): Promise<string>;
}

/** @param assumeYes `--yes`: every confirmation is given. */
export function createPrompt(io: Io, assumeYes: boolean): Prompt {
  const interactive = io.stdin.isTTY === true && io.stderr.isTTY === true;
  const streams = { input: io.stdin as Readable, output: io.stderr as Writable };
  const needed = (question: string, flag: string): MoatError =>
    new MoatError('CONFIRMATION_NEEDED', `an answer is needed: ${question}`, {
      reason: 'there is no terminal to ask at',
      next: [`add ${flag}`],
    });
  return {
    interactive,
    async choose(question, { otherwise }) {
      if (assumeYes || !interactive) return otherwise;
      const { confirm, isCancel } = await import('@clack/prompts');
      const answer = await confirm({ message: question, initialValue: otherwise, signal: io.signal, ...streams });
      if (isCancel(answer)) throw new Interrupted('SIGINT');
      return answer;
    },
    async confirm(question, facts) {
      for (const fact of facts) io.stderr.write(`  ${fact}\n`);
      if (assumeYes) return;
      if (!interactive) throw needed(question, '--yes, once you agree');
      const { confirm, isCancel } = await import('@clack/prompts');
      const answer = await confirm({ message: question, initialValue: false, signal: io.signal, ...streams });
      if (isCancel(answer)) throw new Interrupted('SIGINT');
      if (!answer) throw new MoatError('DECLINED', 'nothing was changed');
    },
    async text(question, { flag, initial }) {
      if (assumeYes && initial !== undefined) return initial;
      if (!interactive) throw needed(question, flag);
      const { text } = await import('@clack/prompts');
      const preset = initial === undefined ? {} : { initialValue: initial };
      const answer = await text({ message: question, signal: io.signal, ...preset, ...streams });
      // Ctrl-C at a prompt reaches the prompt, not the process.
      if (typeof answer !== 'string') throw new Interrupted('SIGINT');
      return answer;
    },
    async secret(question, { flag }) {
      if (!interactive) throw needed(question, flag);
      const { password } = await import('@clack/prompts');
      const answer = await password({ message: question, signal: io.signal, ...streams });
      if (typeof answer !== 'string') throw new Interrupted('SIGINT');
      return answer;
    },
  };
}
