/**
 * `moat audit`: what was done and decided at the gateway of this machine, and whether anybody changed the record; where there is none,
 * what happened to the networks of this machine.
 */
import type { AgentClient, GatewayAuditLine, GatewayClient } from '@moat/admin-api';
import { MoatError, isMoatError } from '@moat/core';
import type { Command } from 'commander';
import { networkHistory, type HistoryLine } from '../deployment/history.ts';
import { selectDeployment } from '../deployment/select.ts';
import { EXIT } from '../exit-codes.ts';
import { renderTable } from '../output/table.ts';
import { parseDuration, shorten } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface AuditOptions {
  readonly since: string;
  readonly network?: string;
  readonly verify?: boolean;
}

/** Reading a million lines. */
const CHECK_MS = 300_000;

export function addAudit(program: Command, runner: VerbRunner): void {
  addVerb<AuditOptions>(
    program,
    runner,
    {
      usage: 'audit',
      summary: 'what was done and decided: at the gateway of this machine, or in its networks',
      group: 'Operate',
      orDev: true,
      examples: [
        ['moat audit --since 7d', 'one line each, oldest first'],
        ['moat audit --network shop', 'versions that were accepted, who signed, what members did with them'],
        ['moat audit --verify', 'exit code 9 when a line was changed, dropped or moved'],
      ],
      options: [
        { flags: '--since <time>', text: 'how far back', preset: '24h' },
        { flags: '-n, --network <name>', text: 'a network of this machine instead of its gateway' },
        { flags: '--verify', text: 'read the whole log against its sealed ends' },
      ],
    },
    async ({ agent, gateway: client, io, progress, style }, _, { since, network, verify = false }) => {
      if (network !== undefined && verify) {
        throw new MoatError('USAGE', '--verify is for the log of a gateway', {
          reason: 'versions of a network are signed and chained, and verified when they are accepted',
        });
      }
      if (!verify) {
        const sinceMs = io.now() - parseDuration(since);
        const lines = await (network === undefined
          ? ofThisMachine(client, agent, sinceMs)
          : ofNetwork(agent, network, sinceMs));
        const text = lines.length === 0 ? `Nothing since ${since}.` : renderTable(lines.map(rowOf));
        return { kind: 'audit', data: { lines }, text };
      }
      const checked = await progress.during('reading the audit log', client.checkAudit({ timeoutMs: CHECK_MS }));
      const { lines, first, head, problems } = checked;
      const found = problems.map(({ seq, message }) => `${style.fail} line ${seq}: ${message}`);
      const sound = `${style.ok} ${lines} lines from ${first} to ${head.seq} are whole`;
      return {
        kind: 'audit-check',
        data: checked,
        exitCode: problems.length > 0 ? EXIT.checkFound : EXIT.done,
        text: [...(problems.length > 0 ? found : [sound]), `  ${style.dim('head')}  ${head.seq} ${head.hash}`].join(
          '\n',
        ),
      };
    },
  );
}

/** The gateway's log; without a gateway what this machine saw of its networks. */
async function ofThisMachine(
  gateway: GatewayClient,
  agent: AgentClient,
  sinceMs: number,
): Promise<readonly (GatewayAuditLine | HistoryLine)[]> {
  try {
    return await readLines(gateway, sinceMs);
  } catch (error) {
    if (!isMoatError(error, 'AGENT_NOT_RUNNING')) throw error;
  }
  const all = await Promise.all((await agent.deployments()).map(({ id }) => networkHistory(agent, id, sinceMs)));
  return all.flat().toSorted((a, b) => Date.parse(a.time) - Date.parse(b.time));
}

async function ofNetwork(agent: AgentClient, network: string, sinceMs: number): Promise<readonly HistoryLine[]> {
  return networkHistory(agent, await selectDeployment(agent, network), sinceMs);
}

async function readLines(client: GatewayClient, sinceMs: number): Promise<GatewayAuditLine[]> {
  const all: GatewayAuditLine[] = [];
  for (let after = 0; ;) {
    const { lines } = await client.audit({ after, sinceMs });
    all.push(...lines);
    const last = lines.at(-1);
    if (last === undefined) return all;
    after = last.seq;
  }
}

function rowOf(line: GatewayAuditLine | HistoryLine): string[] {
  const { time, action, actor, subject = '', details = {} } = line;
  const told = Object.entries(details).filter(([, value]) => value !== null);
  return [
    'seq' in line ? String(line.seq) : '·',
    time.slice(0, 19).replace('T', ' '),
    action,
    subject,
    `by ${shorten(actor)}`,
    told.map(([name, value]) => `${name}=${value}`).join(' '),
  ];
}
