/** `moat rollback`: services, access and publications of an older version, as a new one. */
import { parseContract, planChanges, rollbackContract, type Contract } from '@moat/contract';
import { MoatError, isMoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { withProposalFile } from '../deployment/keep-proposal.ts';
import { NETWORK_OPTION, loadDeployment, selectDeployment, type LoadedDeployment } from '../deployment/select.ts';
import { submitVersion } from '../deployment/submit.ts';
import { renderPlan } from '../output/render-plan.ts';
import { loadAsOwner, openOnce } from '../owner/as-owner.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface RollbackOptions extends OwnerOptions {
  readonly network?: string;
  readonly out?: string;
  readonly yes?: boolean;
}

/** How far the last different version is looked for. */
const MAX_LOOK_BACK = 50;

export function addRollback(program: Command, runner: VerbRunner): void {
  addVerb<RollbackOptions>(
    program,
    runner,
    {
      usage: 'rollback [version]',
      summary: 'services, access and publications of an older version, as a new one',
      group: 'Deploy',
      orDev: true,
      examples: [
        ['moat rollback', 'to the last version that said something else about them'],
        ['moat rollback 4', 'to version 4; members, invites and owners stay as they are'],
      ],
      options: [
        { flags: '-y, --yes', text: 'no questions' },
        { flags: '--out <file>', text: 'where to write what other owners have to sign' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    rollback,
  );
}

async function rollback(context: Context, [wanted]: readonly string[], options: RollbackOptions): Promise<Outcome> {
  const { io, style, prompt } = context;
  if (wanted !== undefined && !/^\d{1,9}$/.test(wanted)) {
    throw new MoatError('USAGE', `"${wanted}" is no version`, { next: ['moat rollback 4', 'moat rollback'] });
  }
  const open = openOnce(() => openOwner(context, options));
  await using view = await loadAsOwner(
    context,
    loadDeployment,
    await selectDeployment(context.agent, options.network),
    open,
  );
  const { current } = view;
  const target = wanted === undefined ? undefined : Number(wanted);
  const { version, contract } =
    target === undefined ? await before(context, current) : await at(context, current, target);
  const { deployment, name } = contract;
  if (contract === current.contract) {
    return {
      kind: 'rolled-back',
      data: { deployment, name, version: contract.version, to: version, changed: false, changes: [] },
      text: `${style.ok} nothing to change: ${name} says what version ${version} said`,
    };
  }
  const changes = planChanges(current.contract, contract);
  if (!context.json) io.stdout.write(`${renderPlan(changes, current.contract, contract, style)}\n`);
  if (prompt.interactive) await prompt.confirm(`Go back to version ${version}?`, []);
  const owner = await open();
  const { submitted, proposed } = await withProposalFile(context, options.out, current, (keep) =>
    submitVersion(context, [owner], current, contract, keep),
  );
  if (submitted.state === 'waiting') return proposed(submitted.waiting);
  const { accepted } = submitted;
  return {
    kind: 'rolled-back',
    data: { deployment, name, version: accepted.version, to: version, changed: true, changes },
    text: [
      `${style.ok} ${name} is at version ${accepted.version}, with services, access and names of version ${version}`,
      style.dim(`  A file that describes ${name} does not know this yet: moat fmt --from-contract -n ${name}`),
    ].join('\n'),
  };
}

interface Found {
  /** Of the old version. */
  readonly version: number;
  /** The next version; the current one's own object when nothing differs. */
  readonly contract: Contract;
}

async function at({ agent }: Context, { contract, detail }: LoadedDeployment, version: number): Promise<Found> {
  if (version === contract.version) return { version, contract };
  const stored = await agent.version(detail.id, version);
  return { version, contract: rollbackContract(contract, parseContract(stored.contract)) };
}

/** The newest version before the current one that differs in what a rollback changes. @throws `VERSION_UNKNOWN` */
async function before(context: Context, current: LoadedDeployment): Promise<Found> {
  const { version: newest, name } = current.contract;
  for (let version = newest - 1; version >= Math.max(0, newest - MAX_LOOK_BACK); version--) {
    try {
      const found = await at(context, current, version);
      if (found.contract !== current.contract) return found;
    } catch (error) {
      // Versions this machine has missed or dropped.
      if (!isMoatError(error, 'VERSION_UNKNOWN')) throw error;
    }
  }
  throw new MoatError('VERSION_UNKNOWN', `no stored version of ${name} has other services, access or names`, {
    next: ['moat rollback N   to a version by its number'],
  });
}
