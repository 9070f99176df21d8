/** `moat plan`: what apply would change, like a diff. */
import { formatDiagnostic } from '@moat/contract';
import type { Command } from 'commander';
import { FILE_OPTION, readDeploymentFile } from '../deployment/deployment-file.ts';
import { findCurrent, nextVersion } from '../deployment/next-version.ts';
import { resolvePeople } from '../deployment/find-people.ts';
import { resolvePins } from '../deployment/resolve-online.ts';
import { NETWORK_OPTION } from '../deployment/select.ts';
import { renderPlan } from '../output/render-plan.ts';
import { OWNER_OPTIONS, type OwnerOptions } from '../owner/open-owner.ts';
import { readOwnerPublicKey } from '../owner/public-key.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface PlanOptions extends OwnerOptions {
  readonly file: string;
  readonly network?: string;
}

export function addPlan(program: Command, runner: VerbRunner): void {
  addVerb<PlanOptions>(
    program,
    runner,
    {
      usage: 'plan',
      summary: 'what apply would change, like a diff',
      group: 'Deploy',
      orDev: true,
      examples: [
        ['moat plan', 'moat.yaml against what runs; nothing is changed'],
        ['moat plan --json', 'the changes and the whole next contract'],
      ],
      options: [
        FILE_OPTION,
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
        { flags: '--yes', text: 'pin new gateways without asking' },
      ],
    },
    async (context, _, options) => {
      const written = await readDeploymentFile(context, options.file);
      const owner = await readOwnerPublicKey(context, options);
      const current = await findCurrent(context, written.file, owner, options.network);
      const read = await resolvePeople(context, written, current?.contract ?? null);
      const pins = await resolvePins(context, read, current?.contract ?? null);
      const { contract, changes, warnings: found } = nextVersion(context, read.file, current, owner, pins);
      const { style } = context;
      const warnings = [...read.warnings.map(formatDiagnostic), ...found.map(({ text }) => text)];
      const body =
        changes.length === 0 && current !== null
          ? `${style.ok} nothing to change: ${contract.name} version ${contract.version} says it all`
          : renderPlan(changes, current?.contract ?? null, contract, style);
      return {
        kind: 'plan',
        data: { from: current?.contract.version ?? null, to: contract.version, changes, contract, warnings },
        text: [body, ...warnings.map((warning) => `${style.attention} ${warning}`)].join('\n'),
      };
    },
  );
}
