/** `moat validate`: syntax, fields, references of a deployment file. */
import { formatDiagnostic } from '@moat/contract';
import type { Command } from 'commander';
import { checkFile, invalidFile } from '../deployment/deployment-file.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addValidate(program: Command, runner: VerbRunner): void {
  addVerb<object>(
    program,
    runner,
    {
      usage: 'validate [file]',
      summary: 'checks a deployment file without changing anything',
      group: 'Deploy',
      examples: [
        ['moat validate', 'moat.yaml here; exit code 3 when something is wrong'],
        ['moat validate staging.yaml --json', 'every finding with file, line and column'],
      ],
    },
    async (context, [path = 'moat.yaml']) => {
      const { diagnostics, file } = await checkFile(context, path);
      if (file === undefined && !context.json) throw invalidFile(path, diagnostics);
      const { style } = context;
      return {
        kind: 'validation',
        data: { file: path, valid: file !== undefined, diagnostics },
        exitCode: file === undefined ? 3 : 0,
        text: [
          ...diagnostics.map((diagnostic) => `${style.attention} ${formatDiagnostic(diagnostic)}`),
          `${style.ok} ${path} is valid`,
        ].join('\n'),
      };
    },
  );
}
