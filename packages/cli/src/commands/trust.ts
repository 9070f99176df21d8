/** `moat trust`: lets programs of this machine trust the gateway's own authority, which is good for its domain alone. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MoatError, isMoatError } from '@moat/core';
import type { Command } from 'commander';
import { changeTrust, systemTrustStore } from '../process/trust-store.ts';
import { pathsIn } from '../paths.ts';
import type { Context } from '../context.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addTrust(program: Command, runner: VerbRunner): void {
  addVerb<{ readonly uninstall?: boolean; readonly ca?: string }>(
    program,
    runner,
    {
      usage: 'trust',
      summary: 'lets this machine trust the authority of its gateway',
      group: 'Operate',
      examples: [
        ['moat trust', 'as root: curl and most programs believe https://*.localhost from then on'],
        ['moat trust --uninstall', 'no more'],
      ],
      options: [
        { flags: '--uninstall', text: 'takes it out again' },
        { flags: '--ca <file>', text: 'by default that of the gateway here' },
      ],
    },
    async (context, _, { uninstall = false, ca }) => {
      const { style } = context;
      const { caFile, pem } = await findAuthority(context, ca);
      const file = await changeTrust(systemTrustStore, pem, { caFile, remove: uninstall });
      const text = uninstall
        ? `${style.ok} this machine trusts ${caFile} no more`
        : `${style.ok} this machine trusts ${caFile}, for its domain alone\n  ${style.dim('Next')}  browsers with a store of their own (Firefox) need it imported there`;
      return { kind: 'trust', data: { caFile, file, trusted: !uninstall }, text };
    },
  );
}

/** That of the gateway which runs here, else the one it left. */
async function findAuthority(
  { gateway, paths }: Context,
  named: string | undefined,
): Promise<{ readonly caFile: string; readonly pem: string }> {
  const running = named === undefined ? await caOfRunning(gateway) : undefined;
  const left = [paths.gatewayHome, pathsIn(paths.dev).gatewayHome].map((home) => join(home, 'ca.pem'));
  for (const caFile of named === undefined ? [running, ...left] : [named]) {
    if (caFile === undefined) continue;
    const pem = await readFile(caFile, 'utf8').catch(() => undefined);
    if (pem?.includes('-----BEGIN CERTIFICATE-----') === true) return { caFile, pem };
  }
  throw new MoatError(
    'FILE_MISSING',
    named === undefined ? 'no gateway here is its own authority' : `${named} holds no certificate`,
    {
      reason: 'gateways with `tls: local` are; their authority is ca.pem in their state',
      next: ['moat trust --ca FILE'],
    },
  );
}

async function caOfRunning(gateway: Context['gateway']): Promise<string | undefined> {
  try {
    return (await gateway.status()).caFile ?? undefined;
  } catch (error) {
    if (isMoatError(error)) return undefined;
    throw error;
  }
}
