/** Settings of the kernel for one interface; nothing is set for the machine as a whole. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TunnelSpec } from '@moat/core';
import type { ToolRun, Tools } from './tool.ts';

const SYSCTL = '/proc/sys';
/**
 * Replies may come another way than the route back (loose), services on loopback may be the target of a DNAT (the chains
 * drop the rest of 127.0.0.0/8), and no address is made that the contract does not say.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  'net/ipv4/conf/*/rp_filter': '2',
  'net/ipv4/conf/*/route_localnet': '1',
  'net/ipv4/conf/*/promote_secondaries': '1',
  'net/ipv6/conf/*/disable_ipv6': '0',
  'net/ipv6/conf/*/accept_ra': '0',
  'net/ipv6/conf/*/autoconf': '0',
  'net/ipv6/conf/*/addr_gen_mode': '1',
};

/** Where packets pass on. Never taken back: the rules say what passes, and others may need it by then. */
const FORWARDING: Readonly<Record<string, string>> = { 'net/ipv4/conf/*/forwarding': '1' };
/** IPv6 has one switch for a whole namespace only. */
const FORWARDING_ELSEWHERE: Readonly<Record<string, string>> = {
  'net/ipv4/ip_forward': '1',
  'net/ipv6/conf/all/forwarding': '1',
};

/** Settings that an interface should have in `namespace` (null = ours), by key with slashes. */
export function settingsOf(
  spec: Pick<TunnelSpec, 'name' | 'forwards'>,
  namespace: string | null,
): ReadonlyMap<string, string> {
  const settings = {
    // Turned first: they change settings of interfaces too.
    ...(spec.forwards && namespace !== null ? FORWARDING_ELSEWHERE : {}),
    ...(spec.forwards ? FORWARDING : {}),
    ...SETTINGS,
  };
  return new Map(Object.entries(settings).map(([key, value]) => [key.replace('*', spec.name), value]));
}

/** Reads what `sysctl` printed; what this kernel does not have is not in it. */
export function parseSettings(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split('\n').flatMap((line): [string, string][] => {
      const [key, value] = line.split(' = ');
      return key === undefined || value === undefined ? [] : [[key.replaceAll('.', '/'), value.trim()]];
    }),
  );
}

/** What this kernel does not have is not in it. @throws `TUNNEL_FAILED`, `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN` */
export async function readSettings(
  tools: Pick<Tools, 'run'>,
  keys: readonly string[],
  namespace: string | null,
): Promise<ReadonlyMap<string, string>> {
  // Another namespace's are seen only by who is in it.
  if (namespace !== null) return parseSettings(await tools.run({ tool: 'sysctl', args: ['-e', ...keys], namespace }));
  const read = async (key: string): Promise<readonly [string, string][]> => {
    try {
      return [[key, (await readFile(join(SYSCTL, key), 'utf8')).trim()]];
    } catch {
      return [];
    }
  };
  return new Map((await Promise.all(keys.map(read))).flat());
}

/** A kernel without IPv6 has no such settings: `-e` lets them be. */
export function writeSettings(settings: ReadonlyMap<string, string>, namespace: string | null): ToolRun {
  return { tool: 'sysctl', args: ['-qe', '-w', ...[...settings].map(([key, value]) => `${key}=${value}`)], namespace };
}
