/** The same for a gateway: which publish line lets it in, and whether this machine's own side does. */
import { MoatError } from '@moat/core';
import { didYouMean, peerIdOfMultiaddr, servicesOfLine, type Contract } from '@moat/contract';
import type { Explanation } from '@moat/admin-api';
import type { Deployment } from '../deployments/deployment.ts';
import type { ExplainDeps, Finding } from './finding.ts';
import { ownSide } from './own-side.ts';
import { pathTo } from './path.ts';

type PublishLine = Contract['publish'][number];

/**
 * `to` is a public name or a service; `domain` undefined = the first gateway that publishes it.
 * @throws `PUBLICATION_UNKNOWN`
 */
export async function explainGateway(
  deps: ExplainDeps,
  deployment: Deployment,
  domain: string | undefined,
  to: string,
  signal: AbortSignal,
): Promise<Explanation> {
  const { contract, view } = deployment;
  const lines = view.contract.publish.filter((line) => line.name === to || servicesOfLine(line).includes(to));
  if (lines.length === 0 && !view.services.has(to)) throw unknown(deployment, to);
  const line = lines.find(({ gateway }) => domain === undefined || gateway.domain === domain);
  const gateway = line?.gateway.domain ?? domain ?? '';
  const common = { deployment: deployment.id, version: contract.version, from: `gateway:${gateway}`, grant: null };
  if (line === undefined || contract.state === 'ended') {
    const finding = contract.state === 'ended' ? ended(deployment) : unpublished(deployment, lines, domain, to);
    const path = { path: null, pathReason: 'no stream of a gateway comes in' };
    return { ...common, to, next: [], ...finding, ...path };
  }
  const service = servicesOfLine(line).includes(to) ? to : line.service;
  const found = await lookAt(deps, deployment, line, service);
  signal.throwIfAborted();
  const [address = ''] = line.gateway.peers;
  const offersIt = view.membersOn(service).some(({ peer }) => peer === deps.self);
  const path = offersIt
    ? pathTo(deps, deployment, { name: gateway, peer: peerIdOfMultiaddr(address) })
    : { path: null, pathReason: `only the machines that offer ${service} hold a link to the gateway: ask there` };
  return { ...common, to: service, next: [], ...found, ...path };
}

async function lookAt(deps: ExplainDeps, deployment: Deployment, line: PublishLine, service: string): Promise<Finding> {
  const { contract, view } = deployment;
  const text = `publish line ${line.name} of version ${contract.version}: ${line.gateway.domain} → ${service}${partOf(line, service)}`;
  const offered = view.services.get(service);
  const offersIt = view.membersOn(service).some(({ peer }) => peer === deps.self);
  if (!offersIt || offered === undefined) return { allowed: true, works: null, code: null, reason: text };
  const own = await ownSide(deps, deployment, offered, true, text, { allowed: true });
  if (own !== undefined) return own;
  const status = deps
    .publications(deployment)
    .find(({ name, gateway }) => name === line.name && gateway === line.gateway.domain);
  if (status?.state === 'live') return { allowed: true, works: true, code: null, reason: text };
  const why = status?.error ?? { code: 'GATEWAY_UNREACHABLE', message: 'the gateway has not answered yet' };
  return {
    allowed: status?.state !== 'refused',
    works: false,
    code: why.code,
    reason: `${text}, but ${why.message}`,
    next: ['moat names'],
  };
}

/** Which requests of the name go to the service, where not all of them do. */
function partOf({ service: own, rules = {} }: PublishLine, service: string): string {
  if (service === own) return '';
  const paths = (rules.paths ?? []).flatMap((rule) => (rule.service === service ? [`under ${rule.prefix}`] : []));
  const parts = (rules.split ?? []).flatMap((part) =>
    part.service === service ? [`${part.percent}% of clients`] : [],
  );
  return ` (${[...paths, ...parts].join(', ')})`;
}

function ended({ contract }: Deployment): Finding {
  return {
    allowed: false,
    works: false,
    code: 'DEPLOYMENT_ENDED',
    reason: `${contract.name} was ended by its owners`,
  };
}

function unpublished(
  { contract }: Deployment,
  lines: readonly PublishLine[],
  domain: string | undefined,
  to: string,
): Finding {
  const elsewhere = [...new Set(lines.map(({ gateway }) => gateway.domain))];
  const at = domain === undefined ? '' : ` at ${domain}`;
  return {
    allowed: false,
    works: false,
    code: 'NOT_PUBLISHED',
    reason: `no publish line of version ${contract.version} gives out ${to}${at}${
      elsewhere.length === 0 ? '' : `; it is published at ${elsewhere.join(', ')}`
    }`,
    next: [`moat publish ${to}${domain === undefined ? '' : ` --gateway ${domain}`}`],
  };
}

function unknown({ contract, view }: Deployment, to: string): MoatError<'PUBLICATION_UNKNOWN'> {
  const hint = didYouMean(to, [...contract.publish.map(({ name }) => name), ...view.services.keys()]);
  return new MoatError('PUBLICATION_UNKNOWN', `${contract.name} has no public name or service ${to.slice(0, 63)}`, {
    next: [...(hint === undefined ? [] : [hint]), 'moat names   lists them'],
  });
}
