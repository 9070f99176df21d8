/** `moat publish` and `unpublish`: the same lines as in the file, written by a verb. */
import { isHostName, type DeploymentFile } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { changeByVerb, type VerbChange } from '../deployment/change-by-verb.ts';
import { chooseGateway, domainOf } from '../deployment/gateway-choice.ts';
import { fileOf } from '../deployment/next-version.ts';
import { askedName } from '../deployment/own-host.ts';
import { NETWORK_OPTION, loadDeployment, selectDeployment, type LoadedDeployment } from '../deployment/select.ts';
import { CODE_OPTION } from '../deployment/gateway-code.ts';
import { waitUntilApplied } from '../deployment/wait-applied.ts';
import type { Submitted } from '../deployment/submit.ts';
import { proposedOutcome } from '../output/proposal.ts';
import { withConsent } from '../output/publication.ts';
import { tryAddress } from '../process/try-address.ts';
import { OWNER_OPTIONS, openOwner } from '../owner/open-owner.ts';
import { readOwnerPublicKey } from '../owner/public-key.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';
import { publishPort, type PublishPortOptions } from './publish-port.ts';

interface PublishOptions extends PublishPortOptions {
  readonly yes?: boolean;
}

const LIVE_TIMEOUT_MS = 30_000;

export function addPublish(program: Command, runner: VerbRunner): void {
  addVerb<PublishOptions>(
    program,
    runner,
    {
      usage: 'publish <service>',
      summary: 'gives an http service, or a port of this machine, a public https name at a gateway',
      group: 'Publish',
      orDev: true,
      examples: [
        ['moat publish 3000', 'what listens on 127.0.0.1:3000, until Ctrl-C; needs no file'],
        ['moat publish web --name shop --gateway apps.example.com', 'https://shop.apps.example.com'],
        ['moat publish web --gateway localhost:8443', 'a gateway on another port than 443'],
        ['moat publish web --host www.shop.example', 'a host of your own; says which DNS record proves it'],
        ['moat publish web', 'under its own name, at the gateway the network uses already'],
      ],
      options: [
        { flags: '--name <name>', text: 'one label under the gateway’s domain; the service’s by default' },
        { flags: '--host <host>', text: 'a whole host of your own instead' },
        { flags: '--gateway <domain>', text: 'where', env: 'MOAT_GATEWAY' },
        CODE_OPTION,
        { flags: '--bg', text: 'a port: return at once and keep it' },
        { flags: '-y, --yes', text: 'pin a new gateway without asking' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    publish,
  );
  addVerb<PublishOptions>(
    program,
    runner,
    {
      usage: 'unpublish <name>',
      summary: 'takes a public name back; it stays yours at the gateway for 30 days',
      group: 'Publish',
      orDev: true,
      examples: [
        ['moat unpublish shop', 'at every gateway'],
        ['moat unpublish shop --gateway apps.example.com', 'at this one'],
      ],
      options: [
        { flags: '--gateway <domain>', text: 'only there', env: 'MOAT_GATEWAY' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    unpublish,
  );
}

async function publish(context: Context, [service = '']: readonly string[], options: PublishOptions): Promise<Outcome> {
  const { agent, style } = context;
  if (/^\d+$/.test(service)) return publishPort(context, Number(service), options);
  const current = await loadDeployment(context, await selectDeployment(agent, options.network));
  requirePublishable(current, service);
  const name = askedName(options) ?? service;
  if (!isHostName(name)) {
    throw new MoatError('USAGE', `"${name}" cannot be a public name`, {
      reason: 'a name is one label below the gateway’s domain, 1–63 of a–z, 0–9 and inner hyphens; or a whole host',
    });
  }
  const { domain, askAt } = await chooseGateway(context, options.gateway, current);
  const before = fileOf(current);
  if (
    before.publish.some((line) => line.name === name && line.gateways.some((gateway) => domainOf(gateway) === domain))
  ) {
    throw new MoatError('NAME_TAKEN', `${current.contract.name} publishes ${name} at ${domain} already`, {
      next: [`moat unpublish ${name}`, 'or choose another --name'],
    });
  }
  const line = { name, service, tls: 'terminate' as const, gateways: [domain] };
  const file: DeploymentFile = { ...before, publish: [...before.publish, line] };
  const submitted = await submitFile(context, options, current, file, {
    askAt,
    code: { file: options.codeFile, domain },
  });
  if (submitted.state === 'waiting') return proposedOutcome(style, submitted.waiting, current.contract, null);
  const { accepted } = submitted;
  await waitUntilApplied(context, accepted.deployment, accepted.version, {
    timeoutMs: LIVE_TIMEOUT_MS,
    concerns: (one) => one.name === name && one.gateway === domain,
  });
  const after = await agent.deployment(accepted.deployment);
  const publication = withConsent(after, await agent.exposed()).find(
    (one) => one.name === name && one.gateway === domain,
  );
  const url = publication?.url ?? null;
  const proof = url === null ? undefined : await tryAddress(context, url);
  const works = proof?.status !== null && (proof?.status ?? 0) < 500;
  return {
    kind: 'published',
    data: { ...accepted, publication: publication ?? null, url, status: proof?.status ?? null },
    text: [
      url === null
        ? `${style.attention} ${name} at ${domain}: no member that offers ${service} has connected yet`
        : `${works ? style.ok : style.attention} ${style.bold(url)}${proof === undefined ? '' : style.dim(`   ${proof.text}`)}`,
      ...((publication?.remedy ?? null) === null ? [] : [`  ${style.dim('Next')}  ${publication?.remedy ?? ''}`]),
      ...reminder(current, style.dim),
    ].join('\n'),
  };
}

async function unpublish(context: Context, [name = '']: readonly string[], options: PublishOptions): Promise<Outcome> {
  const { agent, style } = context;
  const current = await loadDeployment(context, await selectDeployment(agent, options.network));
  const before = fileOf(current);
  const there = (gateway: DeploymentFile['publish'][number]['gateways'][number]): boolean =>
    options.gateway === undefined || domainOf(gateway) === options.gateway;
  const removed = before.publish.filter((line) => line.name === name && line.gateways.some(there));
  if (removed.length === 0) {
    const where = options.gateway === undefined ? '' : ` at ${options.gateway}`;
    throw new MoatError('NAME_UNKNOWN', `${current.contract.name} publishes no ${name}${where}`, {
      next: ['moat names'],
    });
  }
  const publish = before.publish.flatMap((line) => {
    if (line.name !== name) return [line];
    const gateways = line.gateways.filter((gateway) => !there(gateway));
    return gateways.length === 0 ? [] : [{ ...line, gateways }];
  });
  const submitted = await submitFile(context, options, current, { ...before, publish });
  if (submitted.state === 'waiting') return proposedOutcome(style, submitted.waiting, current.contract, null);
  const { accepted } = submitted;
  const stillExposed = await exposedWithout(context, current, name);
  return {
    kind: 'unpublished',
    data: { ...accepted, name, stillExposed },
    text: [
      `${style.ok} ${name} is not public any more  ${style.dim(`version ${accepted.version}`)}`,
      ...(stillExposed === null
        ? []
        : [
            style.dim(
              `  ${stillExposed} stays exposed: moat node unexpose ${stillExposed} --to ${current.contract.name}`,
            ),
          ]),
      ...reminder(current, style.dim),
    ].join('\n'),
  };
}

/** What this machine exposes to gateways, once nothing of this network is published from it but `name`. */
async function exposedWithout(
  { agent }: Context,
  { contract }: LoadedDeployment,
  name: string,
): Promise<string | null> {
  const serviceOf = (line: (typeof contract.publish)[number]): string | undefined =>
    contract.services.find((one) => one.name === line.service)?.target;
  const gone = contract.publish.filter((line) => line.name === name).map(serviceOf);
  const kept = contract.publish.filter((line) => line.name !== name).map(serviceOf);
  const exposed = await agent.exposed();
  const left = exposed.find(
    (one) =>
      one.public && one.deployment === contract.deployment && gone.includes(one.target) && !kept.includes(one.target),
  );
  return left?.target ?? null;
}

async function submitFile(
  context: Context,
  options: PublishOptions,
  current: LoadedDeployment,
  file: DeploymentFile,
  more: Pick<VerbChange, 'askAt' | 'code'> = {},
): Promise<Submitted> {
  const key = await readOwnerPublicKey(context, options);
  const owner = { key, open: () => openOwner(context, options) };
  const { deployment, name, version } = current.contract;
  const unchanged = { deployment, name, version, head: current.detail.head, changed: false, keeper: null };
  return (await changeByVerb(context, owner, { current, file, ...more })) ?? { state: 'accepted', accepted: unchanged };
}

/** @throws `SERVICE_UNKNOWN`, `SERVICE_NOT_HTTP` */
function requirePublishable({ contract }: LoadedDeployment, name: string): void {
  const service = contract.services.find((one) => one.name === name);
  if (service === undefined) {
    throw new MoatError('SERVICE_UNKNOWN', `${contract.name} has no service ${name}`, {
      next: contract.services
        .filter(({ protocol }) => protocol !== 'tcp' && protocol !== 'udp')
        .map((one) => `moat publish ${one.name}`),
    });
  }
  if (service.protocol !== 'tcp' && service.protocol !== 'udp') return;
  throw new MoatError('SERVICE_NOT_HTTP', `${name} is not an http service`, {
    reason: 'a gateway serves http services so far',
    next: [`add protocol: http to ${name} in moat.yaml, and moat apply`],
  });
}

function reminder({ contract }: LoadedDeployment, dim: (text: string) => string): string[] {
  return [
    dim(
      `  A file that describes ${contract.name} does not know this yet: moat fmt --from-contract -n ${contract.name}`,
    ),
  ];
}
