/** `moat explain`: may one reach the other, by which line, does it work, over which path. */
import type { Explanation } from '@moat/admin-api';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { planePathLine } from '../output/plane-path.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addExplain(program: Command, runner: VerbRunner): void {
  addVerb<{ readonly network?: string }>(
    program,
    runner,
    {
      usage: 'explain <from> <to>',
      summary: 'may FROM reach the service TO: by which line, does it work, over which path',
      group: 'Use',
      orDev: true,
      examples: [
        ['moat explain web-1 db', 'a member and a service; on web-1 it is tried'],
        ['moat explain web db', 'the machine that offers web, and a service'],
        ['moat explain gateway:apps.example.com web', 'a gateway and a service'],
        ['moat explain public shop', 'the first gateway that publishes a name'],
      ],
      options: [NETWORK_OPTION],
    },
    async (context, [from = '', to = ''], options) => {
      const { agent, progress } = context;
      const id = await selectDeployment(agent, options.network);
      const explanation = await progress.during(
        `trying ${to}`,
        agent.explain(id, from, to, { signal: context.io.signal }),
      );
      return { kind: 'explanation', data: explanation, text: render(context, from, explanation) };
    },
  );
}

function render({ style }: Context, asked: string, explanation: Explanation): string {
  const { from, to, works, code, reason, version, path, pathReason, plane, next } = explanation;
  const who = asked === from || asked === 'public' ? from : `${asked} (${from})`;
  return [
    `${markOf(style, explanation)} ${style.bold(`${who} ${verdictOf(explanation)} ${to}`)}${code === null ? '' : `  ${style.dim(code)}`}`,
    `  ${style.dim('Why ')}  ${reason} ${style.dim(`(version ${version})`)}`,
    `  ${style.dim('Path')}  ${path === null ? '' : `${path}: `}${pathReason}`,
    ...(plane === undefined ? [] : [`  ${style.dim('WireGuard')}  ${planePathLine(plane)}`]),
    ...(works === null && code === null
      ? [`  ${style.dim('Note')}  by the contract; whether it works is seen on the machines at both ends`]
      : []),
    ...next.map((line, i) => `  ${style.dim(i === 0 ? 'Next' : '    ')}  ${line}`),
  ].join('\n');
}

function verdictOf({ allowed, works }: Explanation): string {
  if (!allowed) return 'may not reach';
  if (works === null) return 'may reach';
  return works ? 'reaches' : 'may reach, and does not,';
}

function markOf(style: Context['style'], { allowed, works }: Explanation): string {
  if (!allowed) return style.fail;
  return works === false ? style.attention : style.ok;
}
