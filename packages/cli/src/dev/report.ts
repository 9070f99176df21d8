/** What `moat dev` prints. */
import { lookup } from 'node:dns/promises';
import type { Context } from '../context.ts';
import type { Style } from '../output/style.ts';
import { padTo, renderTable } from '../output/table.ts';
import { formatDuration } from '../output/units.ts';
import type { Hop } from './check.ts';
import type { DevLayout } from './layout.ts';
import type { ChosenPorts, PortName } from './ports.ts';
import type { RunningGuestbook } from './start.ts';

const STEP_WIDTH = 8;
const HOP_WIDTH = Math.max(...(['private service', 'publication'] as const).map((name) => name.length));

export function renderStep(style: Style, name: string, message: string, tookMs: number): string {
  return `${style.ok} ${style.bold(padTo(name, STEP_WIDTH))}  ${message}  ${style.dim(formatDuration(tookMs))}`;
}

/** Only ports somebody would look for. */
export function renderTaken(style: Style, { taken }: ChosenPorts): string[] {
  const what: Partial<Record<PortName, string>> = {
    https: 'the gateway',
    webService: 'the page',
    dbService: 'the database',
  };
  return taken.map(
    ({ name, wanted, instead }) =>
      `${style.attention} port ${wanted} is in use; ${what[name] ?? name} takes ${instead}`,
  );
}

export async function renderReady(
  context: Context,
  running: RunningGuestbook,
  layout: DevLayout,
  processes: number,
  tookMs: number,
): Promise<string> {
  const { style, io } = context;
  const moat = io.env['npm_lifecycle_event'] === undefined ? 'moat' : 'npx moat';
  const host = new URL(running.url).hostname;
  const resolves = await lookup(host).then(
    () => true,
    () => false,
  );
  const commands = [
    [`${moat} status`, 'members, services, paths'],
    [`${moat} explain web db`, 'allowed, by which line, over which path'],
    [`${moat} explain db web`, 'refused: no line allows it'],
    [`${moat} ping db`, 'a round trip over the private network'],
    [`${moat} forward db --local 7001`, 'the private service on a local port'],
    [`${moat} unpublish guestbook`, 'the page is private again'],
  ] as const;
  return [
    '',
    `  ${style.bold(style.accent(running.url))}   ${style.dim(`ready in ${formatDuration(tookMs)}, ${processes} processes`)}`,
    '',
    `  The page runs on web-1 and its database on db-1; they meet only as db.${running.network}.internal.`,
    `  The certificate is from this machine’s own authority: your browser asks once, curl takes`,
    `    ${style.accent(`curl --cacert ${running.caFile} ${running.url}`)}`,
    ...(resolves
      ? []
      : [`  ${style.attention} programs here do not resolve ${host} (browsers and curl do): moat dev --hosts`]),
    '',
    `  ${style.bold('Try next, in another terminal')}`,
    renderTable(
      commands.map(([line, does]) => [style.accent(line), style.dim(does)]),
      { indent: 4 },
    ),
    '',
    `  ${style.dim(`Logs are in ${layout.logs}. Ctrl-C stops everything.`)}`,
  ].join('\n');
}

export function renderHops(style: Style, hops: readonly Hop[]): string {
  return hops
    .map(({ name, ok, proof }) => `${ok ? style.ok : style.fail} ${style.bold(padTo(name, HOP_WIDTH))}  ${proof}`)
    .join('\n');
}
