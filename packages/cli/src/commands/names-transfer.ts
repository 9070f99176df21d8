/** `moat names release`, `transfer`: a name is given up, by a version that the owners sign. */
import type { DeploymentFile, Heir } from '@moat/contract';
import { MoatError, isDeploymentId } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { changeByVerb } from '../deployment/change-by-verb.ts';
import { fileOf } from '../deployment/next-version.ts';
import { NETWORK_OPTION, loadDeployment, selectDeployment } from '../deployment/select.ts';
import { waitUntilApplied } from '../deployment/wait-applied.ts';
import { proposedOutcome } from '../output/proposal.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { readOwnerPublicKey } from '../owner/public-key.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface GiveOptions extends OwnerOptions {
  readonly network?: string;
  readonly to?: string;
}

const APPLIED_TIMEOUT_MS = 30_000;

/** @param names `moat names` */
export function addNamesTransfer(names: Command, runner: VerbRunner): void {
  addVerb<GiveOptions>(
    names,
    runner,
    {
      usage: 'release <name>',
      summary: 'gives a public name up: whoever comes first gets it',
      orDev: true,
      examples: [['moat names release shop', 'at every gateway; unpublish keeps it yours for 30 days instead']],
      options: [NETWORK_OPTION, ...OWNER_OPTIONS],
    },
    (context, [name = ''], options) => give(context, name, 'nobody', options),
  );
  addVerb<GiveOptions>(
    names,
    runner,
    {
      usage: 'transfer <name>',
      summary: 'gives a public name to another deployment, which gets it by publishing it',
      orDev: true,
      examples: [['moat names transfer shop --to q7f3…', 'at every gateway']],
      options: [{ flags: '--to <deployment>', text: 'its id' }, NETWORK_OPTION, ...OWNER_OPTIONS],
    },
    (context, [name = ''], options) => {
      const { to } = options;
      if (to !== undefined && isDeploymentId(to)) return give(context, name, to, options);
      throw new MoatError('USAGE', '--to takes the id of a deployment', {
        reason: 'an id has 26 characters of a–z and 2–7; a name can be anybody’s',
        next: ['moat status -d   on a machine of theirs shows it'],
      });
    },
  );
}

async function give(context: Context, name: string, heir: Heir, options: GiveOptions): Promise<Outcome> {
  const { agent, style } = context;
  const current = await loadDeployment(context, await selectDeployment(agent, options.network));
  const { contract } = current;
  const before = fileOf(current);
  if (before.publish.every((line) => line.name !== name)) {
    throw new MoatError('NAME_UNKNOWN', `${contract.name} publishes no ${name}`, {
      reason: 'a name is given up by its publish line; one that was unpublished is held for 30 days',
      next: ['moat names', `moat publish SERVICE --name ${name}   then give it up`],
    });
  }
  const publish = before.publish.map((line) => (line.name === name ? { ...line, transfer: heir } : line));
  const file: DeploymentFile = { ...before, publish };
  const key = await readOwnerPublicKey(context, options);
  const owner = { key, open: () => openOwner(context, options) };
  const submitted = await changeByVerb(context, owner, { current, file });
  if (submitted?.state === 'waiting') return proposedOutcome(style, submitted.waiting, contract, null);
  const version = submitted?.accepted.version ?? contract.version;
  await waitUntilApplied(context, contract.deployment, version, {
    timeoutMs: APPLIED_TIMEOUT_MS,
    concerns: (one) => one.name === name,
  });
  const done = heir === 'nobody' ? 'is given up' : `goes to ${heir} as soon as it publishes it`;
  return {
    kind: heir === 'nobody' ? 'name-released' : 'name-transferred',
    data: { deployment: contract.deployment, version, name, to: heir },
    text: [
      `${style.ok} ${name} ${done}  ${style.dim(`version ${version}`)}`,
      style.dim(`  then take the line out: moat unpublish ${name}`),
    ].join('\n'),
  };
}
