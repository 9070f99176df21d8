/** `moat doctor`: looks at what usually goes wrong and says what to do. */
import type { Command } from 'commander';
import { renderBundle } from '../doctor/bundle.ts';
import { MACHINE_CHECKS } from '../doctor/machine-checks.ts';
import { checkNetworks } from '../doctor/network-checks.ts';
import { EXIT } from '../exit-codes.ts';
import { reserveFile } from '../input/files.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addDoctor(program: Command, runner: VerbRunner): void {
  addVerb<{ readonly bundle?: string; readonly config: string }>(
    program,
    runner,
    {
      usage: 'doctor',
      summary: 'looks at what usually goes wrong, and says what to do',
      group: 'Operate',
      orDev: true,
      examples: [
        ['moat doctor', 'exit code 9 when a problem (✗) was found'],
        ['moat doctor --bundle moat-bundle.json', 'for whoever helps you: no secret is in it'],
      ],
      options: [
        { flags: '--bundle <file>', text: 'write versions, status, configuration and logs there too, without secrets' },
        {
          flags: '--config <file>',
          text: 'gateway.yaml, for the bundle',
          preset: 'gateway.yaml',
          env: 'MOAT_GATEWAY_CONFIG',
        },
      ],
    },
    async (context, _, { bundle, config }) => {
      const { io, style, progress } = context;
      await using file = bundle === undefined ? undefined : await reserveFile(io, bundle, 0o600);
      const checks = [...MACHINE_CHECKS.map((check) => check.run(context)), checkNetworks(context)];
      const findings = (await progress.during('looking around', Promise.all(checks))).flat();
      const marks = { ok: style.ok, attention: style.attention, problem: style.fail };
      if (file !== undefined) {
        const options = { version: program.version() ?? '', gatewayConfig: config };
        await file.fill(await progress.during('gathering', renderBundle(context, findings, options)));
        progress.say(style.dim(`${bundle} holds no secret, but names and addresses: look at it before you send it`));
      }
      const problems = findings.filter(({ result }) => result === 'problem').length;
      return {
        kind: 'doctor',
        data: { findings, problems, ...(bundle === undefined ? {} : { bundle }) },
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
