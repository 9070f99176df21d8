/** `moat proposals`: versions that wait for signatures at the keepers. */
import type { ProposalDetail } from '@moat/admin-api';
import { parseProposal, planChanges, type Change, type Contract } from '@moat/contract';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { NETWORK_OPTION, loadDeployment, selectDeployment, type LoadedDeployment } from '../deployment/select.ts';
import { ownerNames, shortId, standingText } from '../output/proposal.ts';
import { renderPlan } from '../output/render-plan.ts';
import { formatDuration } from '../output/units.ts';
import { loadAsOwner, openOnce } from '../owner/as-owner.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface ProposalsOptions extends OwnerOptions {
  readonly network?: string;
}

/** A proposal with what it would change. */
interface Listed extends Omit<ProposalDetail, 'proposal'> {
  readonly deployment: string;
  readonly name: string;
  readonly changes: readonly Change[];
}

export function addProposals(program: Command, runner: VerbRunner): void {
  addVerb<ProposalsOptions>(
    program,
    runner,
    {
      usage: 'proposals',
      summary: 'versions that wait for the signatures of owners',
      group: 'Deploy',
      orDev: true,
      examples: [['moat proposals', 'who signed, who is missing, what each would change']],
      options: [NETWORK_OPTION, ...OWNER_OPTIONS],
    },
    async (context, _, options) => {
      const { agent, io } = context;
      const open = openOnce(() => openOwner(context, options));
      await using view = await loadAsOwner(
        context,
        loadDeployment,
        await selectDeployment(agent, options.network),
        open,
        {
          always: true,
        },
      );
      const { current } = view;
      const { keeper, proposals } = await agent.proposals(current.detail.id, { signal: io.signal });
      const listed: Listed[] = [];
      const blocks: string[] = [];
      for (const { id } of proposals) {
        const { proposal, ...status } = await agent.proposal(current.detail.id, id, { signal: io.signal });
        const { contract } = parseProposal(proposal);
        const changes = status.state === 'stale' ? [] : planChanges(current.contract, contract);
        listed.push({ ...status, deployment: current.detail.id, name: current.detail.name, changes });
        blocks.push(render(context, current, status, contract, changes));
      }
      return {
        kind: 'proposals',
        data: { deployment: current.detail.id, keeper, proposals: listed },
        text: blocks.length === 0 ? `No version of ${current.detail.name} waits for a signature.` : blocks.join('\n\n'),
      };
    },
  );
}

function render(
  { io, style }: Context,
  { contract: before }: LoadedDeployment,
  status: Omit<ProposalDetail, 'proposal'>,
  contract: Contract,
  changes: readonly Change[],
): string {
  const age = formatDuration(Math.max(0, io.now() - Date.parse(status.receivedAt)));
  const title = `${style.bold(shortId(status.id))}  ${age} old`;
  if (status.state === 'stale') return `${title}  ${style.dim('stale: another version came first')}`;
  const signers = ownerNames(status.signers, before, contract);
  const missing = ownerNames(status.missing, before, contract);
  const { newOwners, ...rest } = status;
  const standing = standingText({ ...rest, ...(newOwners === null ? {} : { newOwners }) });
  return [
    `${title}  ${standing}: ${signers.join(', ') || 'nobody'}; missing ${missing.join(', ') || 'nobody'}`,
    renderPlan(changes, before, contract, style),
    ...(missing.length > 0
      ? [`  ${style.dim('Next')}  moat sign ${shortId(status.id)}   on the machine of ${missing.join(' or ')}`]
      : []),
  ].join('\n');
}
