/** `moat completion`: scripts by which shells complete the command. */
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { completionScript, SHELLS } from '../completion/scripts.ts';
import { completionTree } from '../completion/tree.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addCompletion(program: Command, runner: VerbRunner): void {
  addVerb<object>(
    program,
    runner,
    {
      usage: 'completion <bash|zsh|fish>',
      summary: 'a script with which your shell completes moat',
      group: 'Operate',
      examples: [
        ['source <(moat completion bash)', 'now; in ~/.bashrc for ever'],
        ['moat completion fish > ~/.config/fish/completions/moat.fish', 'fish finds it there'],
      ],
    },
    async (_context, [word = '']) => {
      const shell = SHELLS.find((each) => each === word);
      if (shell === undefined) {
        throw new MoatError('USAGE', `"${word}" is none of ${SHELLS.join(', ')}`, { next: ['moat completion bash'] });
      }
      const script = completionScript(shell, completionTree(program));
      return Promise.resolve({ kind: 'completion', data: { shell, script }, text: script.trimEnd() });
    },
  );
}
