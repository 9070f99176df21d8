/** `moat status`: this machine, its networks, how each member is reached. */
import type { DeploymentDetail, Exposed, NodeStatus, PlanePath } from '@moat/admin-api';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { planePathText } from '../output/plane-path.ts';
import {
  distinctRows,
  publicationMark,
  publicationReason,
  publicationState,
  withConsent,
} from '../output/publication.ts';
import { remediesFor } from '../output/remedies.ts';
import type { Style } from '../output/style.ts';
import { renderTable } from '../output/table.ts';
import { formatDuration, shorten } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface StatusOptions {
  readonly detail?: boolean;
  readonly network?: string;
}

export function addStatus(program: Command, runner: VerbRunner): void {
  addVerb<StatusOptions>(
    program,
    runner,
    {
      usage: 'status',
      summary: 'this machine, its networks, and how each member is reached',
      group: 'Use',
      orDev: true,
      examples: [
        ['moat status', 'everything in a few lines'],
        ['moat status -d', 'also ids, heads, targets and what was done with each version'],
        ['moat status --json', 'for programs'],
      ],
      options: [{ flags: '-d, --detail', text: 'ids, heads, targets, receipts' }, NETWORK_OPTION],
    },
    async (context, _, options) => {
      const node = await context.agent.status();
      const [deployments, exposed] = await Promise.all([
        loadDetails(context, node, options.network),
        context.agent.exposed(),
      ]);
      return {
        kind: 'status',
        data: { node, deployments: deployments.map((detail) => slim(detail, options.detail === true)) },
        text: [
          renderNode(context, node, options.detail === true),
          ...deployments.map((detail) => renderDeployment(context, detail, exposed, options.detail === true)),
          ...(deployments.length === 0 ? ['In no network yet.  Next: moat join TOKEN-FILE, or moat init'] : []),
        ].join('\n\n'),
      };
    },
  );
}

async function loadDetails(
  context: Context,
  node: NodeStatus,
  wanted: string | undefined,
): Promise<DeploymentDetail[]> {
  const ids =
    wanted === undefined ? node.deployments.map(({ id }) => id) : [await selectDeployment(context.agent, wanted)];
  return Promise.all(ids.map((id) => context.agent.deployment(id)));
}

/** Signed documents are long; they are in `--json -d` only. */
function slim(detail: DeploymentDetail, whole: boolean): object {
  if (whole) return detail;
  const { contract: _, proof: __, claims: ___, receipts: ____, ...rest } = detail;
  return rest;
}

/** True of this machine for as long as it is set up so: told when the agent starts, and to who asks for details. */
const STEADY: readonly string[] = ['LOOPBACK_SHARED'];

function renderNode({ style }: Context, node: NodeStatus, whole: boolean): string {
  const links = (['direct', 'spliced', 'relayed'] as const).flatMap((path) => {
    const count = node.links.filter((link) => link.path === path).length;
    return count > 0 ? [`${count} ${path}`] : [];
  });
  const lines = [
    `${style.bold('This machine')}  ${shorten(node.peerId)}  up ${formatDuration(node.uptimeMs)}  links ${links.join(', ') || 'none'}${node.anchor ? '  anchor' : ''}`,
    ...node.warnings
      .filter(({ code }) => whole || !STEADY.includes(code))
      .map((warning) => `${style.attention} ${warning.message}  ${style.dim(warning.code)}`),
  ];
  return lines.join('\n');
}

function renderDeployment(
  context: Context,
  detail: DeploymentDetail,
  exposed: readonly Exposed[],
  whole: boolean,
): string {
  const { style, io } = context;
  const age = formatDuration(Math.max(0, io.now() - Date.parse(detail.acceptedAt)));
  const place = detail.member === null ? 'no place here' : `this machine is ${detail.member}`;
  return [
    `${style.bold(detail.name)}  version ${detail.version}, since ${age}  ${place}${detail.keeper ? ' (keeper)' : ''}${detail.state === 'active' ? '' : `  ${style.bad(detail.state)}`}`,
    ...(whole ? [style.dim(`  id ${detail.id}   head ${detail.head}`)] : []),
    ...renderFreshness(detail, style),
    ...detail.alarms.flatMap(({ code, message }) => [
      `  ${style.fail} ${message}  ${style.dim(code)}`,
      ...remediesFor(code).map((next) => `      ${style.dim('Next')}  ${next}`),
    ]),
    renderPlaces(context, detail, whole),
    ...(detail.services.length === 0 ? [] : [renderServices(detail, style, whole)]),
    ...(detail.publications.length === 0 ? [] : [renderPublications(detail, exposed, style)]),
    ...(whole && detail.memberReceipts.length > 0 ? [renderMemberReceipts(detail, style, io.now())] : []),
    ...(whole && detail.receipts.length > 0 ? [renderReceipts(detail, style)] : []),
  ].join('\n');
}

/** A connected machine hears of a keeper every ten minutes; less than that is not worth a line. */
function renderFreshness({ freshness }: DeploymentDetail, style: Style): string[] {
  const { ageMs, maxStaleMs, state } = freshness;
  const age = `no keeper has confirmed this version for ${formatDuration(ageMs)}`;
  if (maxStaleMs === null || state === 'fresh') return ageMs < 900_000 ? [] : [style.dim(`  ${age}`)];
  const limit = formatDuration(maxStaleMs);
  if (state === 'aging')
    return [`  ${style.attention} ${age}; everything stops after ${limit}  ${style.dim('STALE_SOON')}`];
  return [`  ${style.fail} ${age}, and ${limit} is allowed: everything is stopped  ${style.dim('STALE')}`];
}

function renderPlaces({ style, io }: Context, detail: DeploymentDetail, whole: boolean): string {
  const rows = detail.places.map((place) => {
    const held = place.peer !== null;
    const mark = place.self || place.connected ? style.ok : held ? style.attention : style.dim('·');
    const path = place.self
      ? 'this machine'
      : place.connected
        ? (place.path ?? 'connected')
        : held
          ? 'not connected'
          : '';
    return [
      `${mark} ${place.name}`,
      place.ipv4,
      place.keeper ? `${place.state}, keeper` : place.state,
      place.plane === undefined ? path : `${path}, WireGuard ${planePathText(place.plane)}`,
      place.rttMs === null ? '' : formatDuration(place.rttMs),
      whole && place.peer !== null ? style.dim(place.peer) : '',
    ];
  });
  const notes = whole ? [undefined, ...detail.places.map(({ pathReason, plane }) => noteOf(pathReason, plane))] : [];
  return renderTable([['MEMBER', 'ADDRESS', 'PLACE', 'PATH', 'RTT'].map(style.dim), ...rows], {
    indent: 2,
    notes,
    ...(io.stdout.columns === undefined ? {} : { width: io.stdout.columns }),
  });
}

function noteOf(pathReason: string | null, plane: PlanePath | undefined): string | undefined {
  const reason = plane?.path === 'asleep' ? undefined : plane?.reason?.text;
  return (
    [pathReason, reason === undefined ? null : `WireGuard: ${reason}`].filter((each) => each !== null).join('; ') ||
    undefined
  );
}

function renderServices(detail: DeploymentDetail, style: Style, whole: boolean): string {
  const rows = detail.services.map((service) => {
    const here =
      service.local !== null ? `${service.local.host}:${service.local.port}` : style.dim(nowhereText(service));
    const health =
      service.exposed === false
        ? `${style.attention} not exposed here: moat node expose ${service.target} --to ${detail.name}`
        : service.instances === 0
          ? `${style.attention} nobody offers it`
          : service.healthy < service.instances
            ? `${style.attention} ${service.healthy} of ${service.instances} healthy`
            : service.connected < service.instances
              ? `${service.connected === 0 ? style.attention : style.ok} ${service.connected} of ${service.instances} connected`
              : `${style.ok} ${service.instances}`;
    return [
      service.name,
      `${service.host}:${service.port}`,
      here,
      health,
      whole ? style.dim(`→ ${service.target}`) : '',
    ];
  });
  return renderTable([['SERVICE', 'NAME', 'HERE', 'INSTANCES'].map(style.dim), ...rows], { indent: 2 });
}

/** Why programs here have no address to reach a service at. */
function nowhereText({ protocol, exposed, granted }: DeploymentDetail['services'][number]): string {
  if (exposed !== null) return 'this machine';
  if (!granted) return 'not granted here';
  return protocol === 'udp' ? 'UDP: moat wireguard up' : 'no address here';
}

function renderPublications(detail: DeploymentDetail, exposed: readonly Exposed[], style: Style): string {
  const rows = withConsent(detail, exposed).map((publication) => {
    const mark = publicationMark(publication, style);
    return [
      `${mark} ${publication.url ?? `${publication.name} at ${publication.gateway}`}`,
      `→ ${publication.service}`,
      publicationState(publication),
      publicationReason(publication, style),
    ];
  });
  return renderTable([['PUBLIC'].map(style.dim), ...distinctRows(rows)], { indent: 2 });
}

/** What each machine did with the newest version it took, as it signed it. */
function renderMemberReceipts(detail: DeploymentDetail, style: Style, now: number): string {
  const rows = detail.memberReceipts.map((receipt) => {
    const isFine = receipt.result === 'applied' && receipt.version === detail.version;
    return [
      `${isFine ? style.ok : receipt.result === 'applied' ? style.attention : style.fail} ${receipt.member}`,
      `${receipt.result} version ${receipt.version}`,
      `${formatDuration(Math.max(0, now - Date.parse(receipt.time)))} ago`,
      receipt.code ?? '',
    ];
  });
  return renderTable([['MEMBER', 'DID'].map(style.dim), ...rows], { indent: 2 });
}

function renderReceipts(detail: DeploymentDetail, style: Style): string {
  const rows = detail.receipts.map((receipt) => [
    `${receipt.result === 'applied' ? style.ok : style.fail} version ${receipt.version}`,
    receipt.result,
    receipt.time,
    receipt.message ?? '',
  ]);
  return renderTable([['RECEIPT'].map(style.dim), ...rows], { indent: 2 });
}
