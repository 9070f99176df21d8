/** `moat forward`: a local port or socket that leads to a service of a private network. */
import type { Forward } from '@moat/admin-api';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { isAbsolute } from 'node:path';
import type { Context } from '../context.ts';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { resolvePath } from '../input/files.ts';
import { renderTable } from '../output/table.ts';
import { untilInterrupted } from '../process/interrupted.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface ForwardOptions {
  readonly network?: string;
  readonly local: string;
  readonly bg?: boolean;
  readonly remove?: string;
}

export function addForward(program: Command, runner: VerbRunner): void {
  addVerb<ForwardOptions>(
    program,
    runner,
    {
      usage: 'forward [service]',
      summary: 'a local port that leads to a service',
      group: 'Use',
      orDev: true,
      examples: [
        ['moat forward db --local 5432', 'until Ctrl-C'],
        ['moat forward db --local unix:./db.sock', 'a Unix socket'],
        ['moat forward db --local 5432 --bg', 'the agent keeps it, also over restarts'],
        ['moat forward', 'what is forwarded now'],
      ],
      options: [
        { flags: '--local <where>', text: 'PORT, HOST:PORT on loopback, or unix:PATH; 0 = any free port', preset: '0' },
        { flags: '--bg', text: 'return at once and keep it' },
        { flags: '--remove <id>', text: 'end one that was kept' },
        NETWORK_OPTION,
      ],
    },
    async (context, [service], options) => {
      if (options.remove !== undefined) return removeForward(context, options.remove);
      if (service === undefined) return listForwards(context);
      const { agent, style, io } = context;
      const deployment = await selectDeployment(agent, options.network);
      await requireGrant(context, deployment, service);
      const keep = options.bg === true;
      const forward = await agent.addForward({ deployment, service, local: localOf(context, options.local), keep });
      const outcome = {
        kind: 'forward',
        data: forward,
        text: `${style.ok} ${style.accent(forward.local)} → ${service}${keep ? '' : style.dim('   until Ctrl-C')}`,
      };
      if (keep) return outcome;
      io.stdout.write(
        context.json ? `${JSON.stringify({ kind: 'forward', version: 1, data: forward })}\n` : `${outcome.text}\n`,
      );
      try {
        await untilInterrupted(io.signal);
      } finally {
        await agent.removeForward(forward.id, { timeoutMs: 2000 });
      }
      return { ...outcome, silent: true };
    },
  );
}

/**
 * A forward to a service that this machine may not reach would only refuse everyone.
 * @throws `GRANT_DENIED`, `GRANT_EXPIRED`, `MEMBER_EXPIRED`, `SERVICE_UNKNOWN`
 */
async function requireGrant({ agent }: Context, deployment: string, service: string): Promise<void> {
  const { member } = await agent.deployment(deployment);
  if (member === null) return;
  const { allowed, code, reason } = await agent.explain(deployment, member, service);
  // Consent may come later; the contract has to be there.
  if (!allowed && code !== 'NOT_EXPOSED') throw new MoatError(code ?? 'GRANT_DENIED', reason);
}

async function removeForward(
  { agent, style }: Context,
  id: string,
): Promise<{ kind: string; data: object; text: string }> {
  await agent.removeForward(id);
  return { kind: 'forward-removed', data: { id }, text: `${style.ok} forward ${id} is gone` };
}

async function listForwards({ agent, style }: Context): Promise<{ kind: string; data: object; text: string }> {
  const forwards: readonly Forward[] = await agent.forwards();
  const rows = forwards.map(({ id, local, service }) => [local, `→ ${service}`, style.dim(id)]);
  return {
    kind: 'forwards',
    data: { forwards },
    text: rows.length === 0 ? 'Nothing is forwarded.  Next: moat forward SERVICE --local PORT' : renderTable(rows),
  };
}

/** @throws `TARGET_INVALID` */
function localOf({ io }: Context, local: string): string {
  const path = /^unix:(.+)$/.exec(local)?.[1];
  if (path !== undefined) return `unix:${isAbsolute(path) ? path : resolvePath(io, path)}`;
  const port = /^(?:[\w.:[\]-]+:)?(\d{1,5})$/.exec(local)?.[1];
  if (port !== undefined && Number(port) <= 65_535) return local;
  throw new MoatError('TARGET_INVALID', `--local ${local} is neither a port nor unix:PATH`, {
    next: ['moat forward db --local 5432', 'moat forward db --local unix:./db.sock'],
  });
}
