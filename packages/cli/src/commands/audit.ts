/** `moat audit`: what was done and decided at the gateway of this machine, and whether anybody changed the record. */
import type { GatewayAuditLine, GatewayClient } from '@moat/admin-api';
import type { Command } from 'commander';
import { EXIT } from '../exit-codes.ts';
import { renderTable } from '../output/table.ts';
import { parseDuration, shorten } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface AuditOptions {
  readonly since: string;
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
      summary: 'what was done and decided at the gateway of this machine',
      group: 'Operate',
      orDev: true,
      examples: [
        ['moat audit --since 7d', 'one line each, oldest first'],
        ['moat audit --verify', 'exit code 9 when a line was changed, dropped or moved'],
      ],
      options: [
        { flags: '--since <time>', text: 'how far back', preset: '24h' },
        { flags: '--verify', text: 'read the whole log against its sealed ends' },
      ],
    },
    async ({ gateway: client, io, progress, style }, _, { since, verify = false }) => {
      if (!verify) {
        const lines = await readLines(client, io.now() - parseDuration(since));
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

function rowOf({ seq, time, action, actor, subject = '', details = {} }: GatewayAuditLine): string[] {
  const told = Object.entries(details).filter(([, value]) => value !== null);
  return [
    String(seq),
    time.slice(0, 19).replace('T', ' '),
    action,
    subject,
    `by ${shorten(actor)}`,
    told.map(([name, value]) => `${name}=${value}`).join(' '),
  ];
}
