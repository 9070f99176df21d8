/** At which gateway something is to be published, and where that gateway is asked who it is. */
import { isHostName, type DeploymentFile } from '@moat/contract';
import { MoatError } from '@moat/core';
import { isIP } from 'node:net';
import type { Context } from '../context.ts';
import { readSettings, userSettingsFile } from '../input/settings.ts';
import type { LoadedDeployment } from './select.ts';

/** A gateway by the domain below which its names stand. */
export interface ChosenGateway {
  readonly domain: string;
  /** Where to ask, for a gateway on another port than 443. */
  readonly askAt: ReadonlyMap<string, string>;
}

/**
 * What was asked for by flag or variable, else by the settings, else the only gateway the deployment uses already.
 * @throws `NO_GATEWAY`, `GATEWAY_AMBIGUOUS`, `USAGE` for what is no domain, `CONFIG_INVALID`
 */
export async function chooseGateway(
  { io }: Context,
  wanted: string | undefined,
  current: LoadedDeployment | null,
): Promise<ChosenGateway> {
  const text = wanted ?? (await readSettings(io)).gateway;
  if (text !== undefined) return gatewayMeant(text);
  const used = new Set(current?.contract.publish.map(({ gateway }) => gateway.domain));
  const [only] = used;
  if (only !== undefined && used.size === 1) return { domain: only, askAt: new Map() };
  if (used.size > 1) {
    throw new MoatError('GATEWAY_AMBIGUOUS', 'several gateways fit', {
      next: [...used].map((domain) => `--gateway ${domain}`),
    });
  }
  throw new MoatError('NO_GATEWAY', 'no gateway is known', {
    reason: 'a public name stands at a gateway: a machine with a public domain that lets you in',
    next: [
      '--gateway apps.example.com, or MOAT_GATEWAY=apps.example.com',
      `gateway: apps.example.com   in ${userSettingsFile(io.env)}, once for all`,
      'moat gateway init   runs one of your own',
      'moat dev            runs one on this machine, to try it out',
    ],
  });
}

/** `apps.example.com`, or with a port where a gateway is tried out: names stand below the domain, without it. */
function gatewayMeant(text: string): ChosenGateway {
  const domain = text.replace(/:\d{1,5}$/, '');
  if (isIP(domain.replace(/^\[|\]$/g, '')) !== 0) {
    throw new MoatError('USAGE', `--gateway ${text} is an address; a gateway is named by its domain`, {
      reason: 'public names stand below the domain, and its certificate is for it',
      next: ['--gateway apps.example.com'],
    });
  }
  if (!isHostName(domain)) {
    throw new MoatError('USAGE', `--gateway ${text} is not a domain`, { next: ['--gateway apps.example.com'] });
  }
  return { domain, askAt: new Map(domain === text ? [] : [[domain, text]]) };
}

/** Of an entry of a publish line. */
export function domainOf(gateway: DeploymentFile['publish'][number]['gateways'][number]): string {
  return typeof gateway === 'string' ? gateway : gateway.domain;
}
