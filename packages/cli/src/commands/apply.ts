/** `moat apply`: makes the deployment what the file says. */
import type { VersionAccepted } from '@moat/admin-api';
import { formatDiagnostic } from '@moat/contract';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { FILE_OPTION, readDeploymentFile } from '../deployment/deployment-file.ts';
import { findCurrent, nextVersion } from '../deployment/next-version.ts';
import { CODE_OPTION, spendCode } from '../deployment/gateway-code.ts';
import { resolvePeople } from '../deployment/find-people.ts';
import { resolvePins } from '../deployment/resolve-online.ts';
import { NETWORK_OPTION, loadDeployment } from '../deployment/select.ts';
import { confirmEnding, endingVersion, otherBranch, sidesOf } from '../deployment/fork.ts';
import { withProposalFile } from '../deployment/keep-proposal.ts';
import { submitVersion } from '../deployment/submit.ts';
import { waitUntilApplied } from '../deployment/wait-applied.ts';
import { renderPlan } from '../output/render-plan.ts';
import { formatDuration, parseDuration } from '../output/units.ts';
import { loadAsOwner, openOnce } from '../owner/as-owner.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { readOwnerPublicKey } from '../owner/public-key.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface ApplyOptions extends OwnerOptions {
  readonly file: string;
  readonly network?: string;
  readonly wait?: string | boolean;
  readonly yes?: boolean;
  readonly codeFile?: string;
  readonly offline?: boolean;
  readonly endFork?: boolean;
  readonly out?: string;
}

const DEFAULT_WAIT = '60s';

export function addApply(program: Command, runner: VerbRunner): void {
  addVerb<ApplyOptions>(
    program,
    runner,
    {
      usage: 'apply',
      summary: 'makes the deployment what the file says: signs and spreads the next version',
      group: 'Deploy',
      orDev: true,
      examples: [
        ['moat apply', 'shows the change and asks'],
        ['moat apply --yes --wait', 'for scripts: done when the names this machine publishes are live'],
        ['moat apply --out change.json', 'several owners: also a file that the others sign'],
      ],
      options: [
        FILE_OPTION,
        { flags: '--wait [time]', text: `until it works here (${DEFAULT_WAIT})` },
        { flags: '-y, --yes', text: 'no questions; needed to pin a new gateway without a terminal' },
        { flags: '--out <file>', text: 'where to write what other owners have to sign' },
        { flags: '--end-fork', text: 'make what the file says the one history, where the owners signed two' },
        { flags: '--offline', text: 'although no keeper is in reach; who else applies meanwhile makes a fork' },
        CODE_OPTION,
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    apply,
  );
}

async function apply(context: Context, _: readonly string[], options: ApplyOptions): Promise<Outcome> {
  const { io, style, progress, prompt } = context;
  const began = io.now();
  const waitMs = waitOf(options);
  const written = await readDeploymentFile(context, options.file);
  const publicKey = await readOwnerPublicKey(context, options);
  const open = openOnce(() => openOwner(context, options));
  const held = await findCurrent(context, written.file, publicKey, options.network);
  await using view =
    held === null ? null : await loadAsOwner(context, loadDeployment, held.detail.id, open, { evenForked: true, held });
  const loaded = view?.current ?? null;
  const sides = loaded === null ? null : sidesOf(loaded, await otherBranch(context, loaded));
  const { current, other } = sides ?? { current: null, other: null };
  const read = await resolvePeople(context, written, current?.contract ?? null);
  const pins = await resolvePins(context, read, current?.contract ?? null);
  const {
    predecessor,
    contract: planned,
    changes,
    warnings: found,
  } = nextVersion(context, read.file, current, publicKey, pins);
  const contract = current === null || other === null ? planned : endingVersion(planned, current, other);
  const warnings = [...read.warnings.map(formatDiagnostic), ...found.map(({ text }) => text)];
  for (const warning of warnings) progress.say(`${style.attention} ${warning}`);

  if (current !== null && contract === current.contract) {
    await spendCode(context, options.codeFile, contract);
    await waitIfAsked(context, waitMs, contract.deployment, contract.version);
    return {
      kind: 'applied',
      data: {
        deployment: contract.deployment,
        name: contract.name,
        version: contract.version,
        changed: false,
        changes: [],
      },
      text: `${style.ok} nothing to change: ${contract.name} is at version ${contract.version}`,
    };
  }
  if (!context.json) io.stdout.write(`${renderPlan(changes, current?.contract ?? null, contract, style)}\n`);
  if (current !== null && other !== null) {
    const agreed = options.endFork === true;
    await confirmEnding(context, current, other, contract, { agreed, yes: options.yes === true });
  } else if (prompt.interactive) await prompt.confirm('Apply this?', []);
  const owner = await open();
  await spendCode(context, options.codeFile, contract);
  const { submitted, proposed } = await withProposalFile(context, options.out, current, (keep) =>
    submitVersion(context, [owner], predecessor, contract, {
      offline: options.offline === true,
      ...(other === null ? {} : { ends: other.proof }),
      ...keep,
    }),
  );
  if (submitted.state === 'waiting') {
    await waitIfAsked(context, waitMs, contract.deployment, contract.version);
    return proposed(submitted.waiting);
  }
  const { accepted } = submitted;
  await waitIfAsked(context, waitMs, accepted.deployment, accepted.version);
  return outcomeOf(context, accepted, changes, io.now() - began);
}

/** Before anything is signed. @throws `DURATION_INVALID` */
function waitOf({ wait }: ApplyOptions): number | undefined {
  if (wait === undefined) return undefined;
  return parseDuration(wait === true ? DEFAULT_WAIT : String(wait));
}

async function waitIfAsked(context: Context, waitMs: number | undefined, id: string, version: number): Promise<void> {
  if (waitMs !== undefined) await waitUntilApplied(context, id, version, { timeoutMs: waitMs });
}

function outcomeOf(
  { style }: Context,
  accepted: VersionAccepted,
  changes: readonly unknown[],
  tookMs: number,
): Outcome {
  const { deployment, name, version } = accepted;
  const first =
    version === 0 ? `\n  ${style.dim('Next')}  moat invite MEMBER, for each place a machine is to take` : '';
  return {
    kind: 'applied',
    data: { deployment, name, version, head: accepted.head, changed: true, changes },
    text: `${style.ok} ${name} is at version ${version}  ${style.dim(formatDuration(tookMs))}${first}`,
  };
}
