/** `moat explain`: may one reach the other, by which line, over which path. */
import type { DeploymentDetail } from '@moat/admin-api';
import { parseContract, resolveMembers } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addExplain(program: Command, runner: VerbRunner): void {
  addVerb<{ readonly network?: string }>(
    program,
    runner,
    {
      usage: 'explain <from> <to>',
      summary: 'may FROM reach the service TO: by which line, over which path',
      group: 'Use',
      orDev: true,
      examples: [
        ['moat explain web-1 db', 'a member and a service'],
        ['moat explain web db', 'the machine that offers web, and a service'],
      ],
      options: [NETWORK_OPTION],
    },
    async (context, [from = '', to = ''], options) => {
      const { agent, style } = context;
      const id = await selectDeployment(agent, options.network);
      const detail = await agent.deployment(id);
      const member = memberMeant(detail, from);
      const explanation = await agent.explain(id, member, to);
      if (explanation.code === 'SERVICE_UNKNOWN') throw new MoatError('SERVICE_UNKNOWN', explanation.reason);
      const who = member === from ? member : `${from} (${member})`;
      return {
        kind: 'explanation',
        data: explanation,
        text: [
          explanation.allowed
            ? `${style.ok} ${style.bold(`${who} may reach ${to}`)}`
            : `${style.fail} ${style.bold(`${who} may not reach ${to}`)}  ${style.dim(explanation.code ?? '')}`,
          `  ${style.dim('Why ')}  ${explanation.reason} ${style.dim(`(${detail.name} version ${explanation.version})`)}`,
          `  ${style.dim('Path')}  ${explanation.path === null ? '' : `${explanation.path}: `}${explanation.pathReason}`,
        ].join('\n'),
      };
    },
  );
}

/** A member by its name, else the first machine of a service or tag of that name. */
function memberMeant(detail: DeploymentDetail, from: string): string {
  if (detail.places.some(({ name }) => name === from)) return from;
  const contract = parseContract(detail.contract);
  const selectors = contract.services.find(({ name }) => name === from)?.on ?? [`tag:${from.replace(/^tag:/, '')}`];
  const [member] = resolveMembers(contract, selectors);
  if (member !== undefined) return member.name;
  throw new MoatError('MEMBER_UNKNOWN', `${detail.name} has no member, service or tag ${from}`, {
    next: [`moat status   lists them`],
  });
}
