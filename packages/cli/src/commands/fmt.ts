/** `moat fmt`: one way to write a deployment file. */
import { fileFromContract, formatDeploymentFile } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { invalidFile, parseFile } from '../deployment/deployment-file.ts';
import { NETWORK_OPTION, loadDeployment, selectDeployment } from '../deployment/select.ts';
import { EXIT } from '../exit-codes.ts';
import { replaceFile } from '../input/files.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface FmtOptions {
  readonly check?: boolean;
  readonly fromContract?: boolean;
  readonly network?: string;
}

export function addFmt(program: Command, runner: VerbRunner): void {
  addVerb<FmtOptions>(
    program,
    runner,
    {
      usage: 'fmt [file]',
      summary: 'writes a deployment file in its one form; comments stay',
      group: 'Deploy',
      orDev: true,
      examples: [
        ['moat fmt', 'moat.yaml here, in place'],
        ['moat fmt --check', 'changes nothing; exit code 9 when it would'],
        ['moat fmt --from-contract > moat.yaml', 'what runs now, as a file'],
      ],
      options: [
        { flags: '--check', text: 'only say whether something would change' },
        { flags: '--from-contract', text: 'print the running version as a file' },
        NETWORK_OPTION,
      ],
    },
    async (context, [path = 'moat.yaml'], options) => {
      if (options.fromContract === true) {
        const { contract } = await loadDeployment(context, await selectDeployment(context.agent, options.network));
        const text = fileFromContract(contract);
        return { kind: 'deployment-file', data: { text, version: contract.version }, text: text.trimEnd() };
      }
      const { text, file, diagnostics } = await parseFile(context, path);
      if (file === undefined) throw invalidFile(path, diagnostics);
      const formatted = formatDeploymentFile(text);
      const changed = formatted !== text;
      const { style } = context;
      if (options.check === true) {
        const says = changed
          ? `${style.attention} ${path} is not formatted; moat fmt ${path}`
          : `${style.ok} ${path} is formatted`;
        return {
          kind: 'fmt',
          data: { file: path, changed },
          exitCode: changed ? EXIT.checkFound : EXIT.done,
          text: says,
        };
      }
      if (path === '-') throw new MoatError('USAGE', 'fmt works on a file');
      if (changed) await replaceFile(context.io, path, formatted);
      return {
        kind: 'fmt',
        data: { file: path, changed },
        text: `${style.ok} ${path}${changed ? ' rewritten' : ' unchanged'}`,
      };
    },
  );
}
