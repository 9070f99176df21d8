/** `moat node dns`: whether every program of this machine knows the private networks' names. */
import { MoatError } from '@moat/core';
import type { DnsWiring } from '@moat/node';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { addGroup, addVerb, type Outcome, type VerbRunner } from '../verb.ts';

export function addNodeDns(node: Command, runner: VerbRunner): void {
  const dns = addGroup(node, 'dns', 'names such as db.shop.internal for every program of this machine');
  addVerb<object>(
    dns,
    runner,
    {
      usage: 'install',
      summary: "lets the system's resolver ask the agent for names below .internal",
      examples: [
        ['sudo moat node dns install', 'by systemd-resolved, else /etc/resolv.conf; refuses what it does not know'],
      ],
    },
    async (context) => {
      const { dns: listening } = await context.agent.status();
      if (listening === null) {
        throw new MoatError('DNS_OFF', 'the agent answers no names', { next: ['moat node status', 'moat node run'] });
      }
      const { installSystemDns } = await import('../process/system-dns.ts');
      return outcome(context, await installSystemDns(listening));
    },
  );
  addVerb<object>(
    dns,
    runner,
    {
      usage: 'uninstall',
      summary: 'puts the resolver back as it was',
      examples: [['sudo moat node dns uninstall', 'also after a crash, and without the agent']],
    },
    async (context) => {
      const { uninstallSystemDns } = await import('../process/system-dns.ts');
      return outcome(context, await uninstallSystemDns());
    },
  );
  addVerb<object>(
    dns,
    runner,
    {
      usage: 'status',
      summary: 'who answers names below .internal here',
      examples: [['moat node dns status', 'what is wired, and whether the agent answers there']],
    },
    async (context) => {
      const { systemDns } = await import('../process/system-dns.ts');
      return outcome(context, await systemDns());
    },
  );
}

async function outcome({ agent, style }: Context, wiring: DnsWiring): Promise<Outcome> {
  const listening = await agent.status({ timeoutMs: 2_000 }).then(
    ({ dns }) => (dns === null ? null : `${dns.host}:${dns.port}`),
    () => undefined,
  );
  const data = { ...wiring, agent: listening ?? null };
  const others = wiring.others.length === 0 ? '' : `; other names go to ${wiring.others.join(', ')}`;
  const lines =
    wiring.kind === 'none'
      ? [`${style.dim('·')} the system's resolver does not ask the agent`, '  Next  sudo moat node dns install']
      : [`${style.ok} names below .internal are asked of ${wiring.server} by ${wiring.kind}${others}`];
  if (listening === undefined) lines.push(`${style.attention} the agent is not running`);
  else if (listening === null) lines.push(`${style.attention} the agent answers no names`);
  else if (wiring.server !== null && withPort(wiring.server) !== listening) {
    lines.push(`${style.attention} the agent answers at ${listening} now: sudo moat node dns install`);
  }
  return { kind: 'node-dns', data, text: lines.join('\n') };
}

function withPort(server: string): string {
  return server.includes(':') ? server : `${server}:53`;
}
