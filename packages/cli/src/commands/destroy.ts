/** `moat destroy`: the version that ends a deployment. */
import { endedContract } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { withProposalFile } from '../deployment/keep-proposal.ts';
import { NETWORK_OPTION, loadDeployment, selectDeployment } from '../deployment/select.ts';
import { submitVersion } from '../deployment/submit.ts';
import { loadAsOwner, openOnce } from '../owner/as-owner.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface DestroyOptions extends OwnerOptions {
  readonly network?: string;
  readonly out?: string;
  readonly yes?: boolean;
}

export function addDestroy(program: Command, runner: VerbRunner): void {
  addVerb<DestroyOptions>(
    program,
    runner,
    {
      usage: 'destroy',
      summary: 'ends a network for good: nothing follows its last version',
      group: 'Deploy',
      orDev: true,
      examples: [
        ['moat destroy', 'asks for the name of the network'],
        ['moat destroy -n shop --yes', 'without a question'],
      ],
      options: [
        { flags: '-y, --yes', text: 'no question' },
        { flags: '--out <file>', text: 'where to write what other owners have to sign' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    async (context, _, options) => {
      const { style, prompt } = context;
      const open = openOnce(() => openOwner(context, options));
      await using view = await loadAsOwner(
        context,
        loadDeployment,
        await selectDeployment(context.agent, options.network),
        open,
      );
      const { current } = view;
      const contract = endedContract(current.contract);
      const { name, deployment } = contract;
      if (options.yes !== true) {
        const typed = await prompt.text(`Type ${name} to end this network for good`, { flag: '--yes' });
        if (typed.trim() !== name) throw new MoatError('DECLINED', 'nothing was changed');
      }
      const owner = await open();
      const { submitted, proposed } = await withProposalFile(context, options.out, current, (keep) =>
        submitVersion(context, [owner], current, contract, keep),
      );
      if (submitted.state === 'waiting') return proposed(submitted.waiting);
      const { version } = submitted.accepted;
      return {
        kind: 'destroyed',
        data: { deployment, name, version },
        text: `${style.ok} ${name} has ended with version ${version}: its members let nobody in, its names are withdrawn`,
      };
    },
  );
}
