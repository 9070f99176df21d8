/** `moat netcheck`: how the world sees this machine's WireGuard interfaces. */
import type { NetcheckReport } from '@moat/admin-api';
import { isMoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { shorten } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addNetcheck(program: Command, runner: VerbRunner): void {
  addVerb<{ readonly network?: string }>(
    program,
    runner,
    {
      usage: 'netcheck',
      summary: 'what stands between this machine and others: routers, addresses, who passes packets on',
      group: 'Use',
      orDev: true,
      examples: [
        ['moat netcheck', 'asks every anchor where packets of this machine come from'],
        ['moat netcheck --json', 'for programs'],
      ],
      options: [NETWORK_OPTION],
    },
    async (context, _, options) => {
      const { agent, progress, io } = context;
      const ids =
        options.network === undefined
          ? (await agent.deployments()).map(({ id }) => id)
          : [await selectDeployment(agent, options.network)];
      const reports: NetcheckReport[] = [];
      for (const id of ids) {
        try {
          reports.push(await progress.during('asking the anchors', agent.netcheck(id, { signal: io.signal })));
        } catch (error) {
          // A network without an interface has nothing to check, unless it is the one that was asked for.
          if (!isMoatError(error, 'PLANE_OFF') || options.network !== undefined) throw error;
        }
      }
      return { kind: 'netcheck', data: { networks: reports }, text: render(context, reports) };
    },
  );
}

/** What each kind of router means for others who want to reach this machine. */
const NATS: Readonly<Record<NetcheckReport['nat'], string>> = {
  none: 'none: packets leave as they are',
  eim: 'keeps one port for all destinations: direct paths to almost everybody',
  edm: 'takes another port for each destination (symmetric): direct paths to public machines and easy routers only',
  unknown: 'translates addresses; one anchor alone cannot tell how',
  blocked: 'lets no UDP out: packets ride links',
  unseen: 'unknown: no anchor could say how this machine is seen',
};

const PROTOCOLS = { 'nat-pmp': 'NAT-PMP', upnp: 'UPnP' } as const;

function render({ style }: Context, reports: readonly NetcheckReport[]): string {
  if (reports.length === 0) {
    return `${style.dim('·')} no network has a WireGuard interface on this machine\n  ${style.dim('Next')}  moat wireguard up`;
  }
  return reports
    .map(({ name, nat, port, anchors, mapped, mappedBy, local, forwarders }) => {
      const mark = nat === 'none' || nat === 'eim' ? style.ok : style.attention;
      const seen = anchors.map(({ anchor, seen: address, rttMs, code }) => {
        const what = address ?? `nothing arrived${code === null ? '' : ` (${code})`}`;
        return `  ${style.dim('Seen  ')}  ${what} by ${shorten(anchor)}${rttMs === null ? '' : `, ${Math.round(rttMs)} ms`}`;
      });
      return [
        `${mark} ${style.bold(name)}  UDP port ${port}`,
        `  ${style.dim('Router')}  ${NATS[nat]}`,
        ...(seen.length === 0 ? [`  ${style.dim('Seen  ')}  the network has no anchor that could be asked`] : seen),
        `  ${style.dim('Mapped')}  ${mapped === null ? 'the router opens no port on request' : `${mapped} by ${PROTOCOLS[mappedBy ?? 'upnp']}`}`,
        `  ${style.dim('Own   ')}  ${local.join('  ') || 'no address'}`,
        `  ${style.dim('Relays')}  ${forwarders.join(', ') || 'no member passes packets on (moat node run --relay)'}`,
      ].join('\n');
    })
    .join('\n\n');
}
