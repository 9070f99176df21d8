/** `moat doctor`: looks at what usually goes wrong and says what to do. */
import type { Command } from 'commander';
import { MACHINE_CHECKS } from '../doctor/machine-checks.ts';
import { checkNetworks } from '../doctor/network-checks.ts';
import { EXIT } from '../exit-codes.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addDoctor(program: Command, runner: VerbRunner): void {
  addVerb<object>(
    program,
    runner,
    {
      usage: 'doctor',
      summary: 'looks at what usually goes wrong, and says what to do',
      group: 'Operate',
      orDev: true,
      examples: [['moat doctor', 'exit code 9 when a problem (✗) was found']],
    },
    async (context) => {
      const { style, progress } = context;
      const checks = [...MACHINE_CHECKS.map((check) => check.run(context)), checkNetworks(context)];
      const findings = (await progress.during('looking around', Promise.all(checks))).flat();
      const marks = { ok: style.ok, attention: style.attention, problem: style.fail };
      const problems = findings.filter(({ result }) => result === 'problem').length;
      return {
        kind: 'doctor',
        data: { findings, problems },
        exitCode: problems > 0 ? EXIT.checkFound : EXIT.done,
        text: findings
          .map(({ name, result, message, fix }) => {
            const line = `${marks[result]} ${style.bold(name)}  ${message}`;
            return fix === undefined ? line : `${line}\n    ${style.dim('fix')}  ${fix}`;
          })
          .join('\n'),
      };
    },
  );
}
