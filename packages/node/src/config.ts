/** The agent's configuration: defaults < system file < user file < `MOAT_*` < flags. */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { MoatError, isLabel } from '@moat/core';
import { isEntryText } from '@moat/contract';
import { z } from 'zod';
import { readConfigFile, type ConfigLayer } from './config-file.ts';

/** How an agent runs; every field is set. */
export interface NodeConfig {
  /** Keys, database, socket. @defaultValue `/var/lib/moat` for root, else `$XDG_STATE_HOME/moat` */
  readonly stateDir: string;
  /** Unix socket of the local API. @defaultValue `<stateDir>/agent.sock` */
  readonly socketPath: string;
  /** Multiaddrs of the overlay; empty = no inbound. @defaultValue port 4410 on every address */
  readonly listen: readonly string[];
  /** Multiaddrs told to others instead. @defaultValue none */
  readonly announce: readonly string[];
  /** TCP port of links, 0 = any free one; null = links are only dialed. @defaultValue 4411 */
  readonly linkPort: number | null;
  /** Address the link port binds to. @defaultValue `::` */
  readonly linkHost: string;
  /** Relay for others. @defaultValue false */
  readonly anchor: boolean;
  /** Pass packets of the WireGuard plane on for members of this machine's deployments. @defaultValue false */
  readonly relay: boolean;
  /** UDP ports for that, `51830-51893`. @defaultValue wherever the system gives one */
  readonly relayPorts: string | undefined;
  /** Find members on the local network. @defaultValue true */
  readonly mdns: boolean;
  /** Proxy (SOCKS5 and HTTP CONNECT) on 127.0.0.1, 0 = any free port; null = none. @defaultValue 4412 */
  readonly socksPort: number | null;
  /** The operator named the port: that one or none. False: another is taken where the default is in use. */
  readonly socksPortChosen: boolean;
  /** Answer names below `.internal` on a loopback address. @defaultValue true */
  readonly dns: boolean;
  /** `loopback`: every user of this machine reaches granted services; `private`: only forwards to Unix sockets, and a proxy with a password. @defaultValue `loopback` */
  readonly access: 'loopback' | 'private';
  /** Where certificates are ordered for names that gateways pass through: URL of an ACME directory, `letsencrypt`, or `off`. @defaultValue `letsencrypt` */
  readonly acmeDirectory: string;
  /** PEM file by which that directory's own https is verified. @defaultValue the public authorities */
  readonly acmeCa: string | undefined;
  /** Certificates for such names that are not ordered: PEM files. @defaultValue none */
  readonly certificates: readonly { readonly certificate: string; readonly key: string }[];
  /** Shows this machine in the public directory. @defaultValue false */
  readonly listed: boolean;
  /** Where it stands, as its operator calls it: `eu-west`. */
  readonly region: string | undefined;
  /** What its operator asks of those who use it; one line. */
  readonly terms: string | undefined;
  /** Who may use it in their deployments: `anyone`, or keys of owners. @defaultValue nobody is offered it */
  readonly offeredTo: 'anyone' | readonly string[] | undefined;
  /** Anchors to ask and tell, besides those of contracts; an anchor copies their directory. @defaultValue none */
  readonly directoryAnchors: readonly string[];
  /** @defaultValue `info` */
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error';
}

/** Any part of a configuration, as a file or flags give it. `inbound: false` closes the overlay's and the link port. */
export type NodeConfigInput = {
  readonly [K in Exclude<keyof NodeConfig, 'socksPortChosen'>]?: NodeConfig[K] | undefined;
} & {
  readonly inbound?: boolean | undefined;
};

/** Where configuration comes from; tests give their own. */
export interface ConfigSources {
  readonly flags?: NodeConfigInput;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Later files win. @defaultValue `/etc/moat/node.yaml` and `$XDG_CONFIG_HOME/moat/node.yaml` */
  readonly files?: readonly string[];
  readonly isRoot?: boolean;
}

const port = z
  .number({ error: 'a port is 0 to 65535, or off' })
  .int()
  .min(0)
  .max(65_535, 'a port is 0 to 65535, or off');
const multiaddr = z.string().startsWith('/', 'a multiaddr begins with a slash, such as /ip4/0.0.0.0/tcp/4410');
const ownerKey = z.string().startsWith('ed25519:', 'a key is written as ed25519:…');
const ACCESS = ['loopback', 'private'] as const;
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
/** Origin of the command line's settings: they are named as they were typed. */
const FLAGS = 'flags';
const schema: z.ZodType<NodeConfigInput> = z.strictObject({
  stateDir: z.string().optional(),
  socketPath: z.string().optional(),
  listen: z.array(multiaddr).optional(),
  announce: z.array(multiaddr).optional(),
  linkPort: port.nullable().optional(),
  linkHost: z.string().optional(),
  anchor: z.boolean().optional(),
  relay: z.boolean().optional(),
  relayPorts: z.string().refine(isPortRange, 'ports are written as 51830-51893').optional(),
  mdns: z.boolean().optional(),
  socksPort: port.nullable().optional(),
  dns: z.boolean().optional(),
  access: z.enum(ACCESS, { error: `one of ${ACCESS.join(', ')}` }).optional(),
  acmeDirectory: z
    .string()
    .refine(
      (text) => ['letsencrypt', 'off'].includes(text) || /^https:\/\/./.test(text),
      'letsencrypt, off, or an https URL',
    )
    .optional(),
  acmeCa: z.string().optional(),
  certificates: z.array(z.strictObject({ certificate: z.string(), key: z.string() })).optional(),
  listed: z.boolean().optional(),
  region: z.string().refine(isLabel, 'a region is 1–63 of a–z, 0–9 and inner hyphens').optional(),
  terms: z.string().refine(isEntryText, 'one line of at most 256 characters').optional(),
  offeredTo: z
    .union([z.literal('anyone'), z.array(ownerKey).max(64)], { error: 'anyone, or keys of owners' })
    .optional(),
  directoryAnchors: z.array(multiaddr).max(16).optional(),
  logLevel: z.enum(LOG_LEVELS, { error: `one of ${LOG_LEVELS.join(', ')}` }).optional(),
  inbound: z.boolean().optional(),
});
const KEYS = [
  'stateDir',
  'socketPath',
  'listen',
  'announce',
  'linkPort',
  'linkHost',
  'anchor',
  'relay',
  'relayPorts',
  'mdns',
  'socksPort',
  'dns',
  'access',
  'acmeDirectory',
  'acmeCa',
  'certificates',
  'listed',
  'region',
  'terms',
  'offeredTo',
  'directoryAnchors',
  'logLevel',
  'inbound',
] as const;

/**
 * The configuration in force. Variables: `MOAT_HOME` (state directory), `MOAT_SOCKET`, `MOAT_LISTEN` and `MOAT_ANNOUNCE`
 * (comma-separated), `MOAT_LINK_PORT`, `MOAT_LINK_HOST`, `MOAT_SOCKS_PORT` (a number or `off`), `MOAT_ANCHOR`,
 * `MOAT_RELAY`, `MOAT_RELAY_PORTS`, `MOAT_MDNS`, `MOAT_DNS`, `MOAT_INBOUND` (`1` or `0`), `MOAT_ACCESS`, `MOAT_ACME_DIRECTORY`, `MOAT_ACME_CA`,
 * `MOAT_LISTED`, `MOAT_REGION`, `MOAT_TERMS`, `MOAT_OFFERED_TO` (`anyone`, or keys with commas), `MOAT_DIRECTORY_ANCHORS`
 * (comma-separated), `MOAT_LOG_LEVEL`.
 * @throws `CONFIG_INVALID` with file, line and column where a file is wrong.
 */
export async function loadNodeConfig(sources: ConfigSources = {}): Promise<NodeConfig> {
  const env = sources.env ?? process.env;
  const isRoot = sources.isRoot ?? process.getuid?.() === 0;
  const layers: ConfigLayer<NodeConfigInput>[] = [];
  for (const file of sources.files ?? defaultFiles(env)) {
    const layer = await readConfigFile(file, schema, KEYS);
    if (layer !== undefined) layers.push(layer);
  }
  layers.push({ origin: 'environment', value: check('environment', fromEnvironment(env)) });
  layers.push({ origin: FLAGS, value: check(FLAGS, sources.flags ?? {}) });
  return complete(layers, env, isRoot);
}

/** `agent.sock` in the state directory that `MOAT_HOME` or the user's defaults name, for clients. */
export function defaultStateDir(env: Readonly<Record<string, string | undefined>>, isRoot: boolean): string {
  if (env['MOAT_HOME'] !== undefined && env['MOAT_HOME'] !== '') return resolve(env['MOAT_HOME']);
  if (isRoot) return '/var/lib/moat';
  return join(xdg(env, 'XDG_STATE_HOME', '.local/state'), 'moat');
}

function complete(
  layers: readonly ConfigLayer<NodeConfigInput>[],
  env: Readonly<Record<string, string | undefined>>,
  isRoot: boolean,
): NodeConfig {
  const merged: NodeConfigInput = Object.assign({}, ...layers.map(({ value }) => defined(value))) as NodeConfigInput;
  const stateDir = resolve(merged.stateDir ?? defaultStateDir(env, isRoot));
  const inbound = merged.inbound ?? true;
  return {
    stateDir,
    socketPath: merged.socketPath === undefined ? join(stateDir, 'agent.sock') : resolve(merged.socketPath),
    listen: inbound ? (merged.listen ?? ['/ip4/0.0.0.0/tcp/4410', '/ip6/::/tcp/4410']) : [],
    announce: merged.announce ?? [],
    linkPort: inbound ? (merged.linkPort === undefined ? 4411 : merged.linkPort) : null,
    linkHost: merged.linkHost ?? '::',
    anchor: merged.anchor ?? false,
    relay: merged.relay ?? false,
    relayPorts: merged.relayPorts,
    mdns: merged.mdns ?? true,
    socksPort: merged.socksPort === undefined ? 4412 : merged.socksPort,
    socksPortChosen: merged.socksPort !== undefined,
    dns: merged.dns ?? true,
    access: merged.access ?? 'loopback',
    acmeDirectory: merged.acmeDirectory ?? 'letsencrypt',
    acmeCa: merged.acmeCa,
    certificates: merged.certificates ?? [],
    listed: merged.listed ?? false,
    region: merged.region,
    terms: merged.terms,
    offeredTo: merged.offeredTo,
    directoryAnchors: merged.directoryAnchors ?? [],
    logLevel: merged.logLevel ?? 'info',
  };
}

function fromEnvironment(env: Readonly<Record<string, string | undefined>>): Record<string, unknown> {
  const flag = (name: string): boolean | string | undefined => {
    const text = env[name];
    return text === '1' || text === 'true' ? true : text === '0' || text === 'false' ? false : text;
  };
  const number = (name: string): number | string | null | undefined => {
    const text = env[name];
    if (text === 'off') return null;
    return text !== undefined && /^\d+$/.test(text) ? Number(text) : text;
  };
  const list = (name: string): string[] | undefined => env[name]?.split(',').filter((part) => part !== '');
  return defined({
    stateDir: env['MOAT_HOME'],
    socketPath: env['MOAT_SOCKET'],
    listen: list('MOAT_LISTEN'),
    announce: list('MOAT_ANNOUNCE'),
    linkPort: number('MOAT_LINK_PORT'),
    linkHost: env['MOAT_LINK_HOST'],
    anchor: flag('MOAT_ANCHOR'),
    relay: flag('MOAT_RELAY'),
    relayPorts: env['MOAT_RELAY_PORTS'],
    mdns: flag('MOAT_MDNS'),
    socksPort: number('MOAT_SOCKS_PORT'),
    dns: flag('MOAT_DNS'),
    access: env['MOAT_ACCESS'],
    acmeDirectory: env['MOAT_ACME_DIRECTORY'],
    acmeCa: env['MOAT_ACME_CA'],
    listed: flag('MOAT_LISTED'),
    region: env['MOAT_REGION'],
    terms: env['MOAT_TERMS'],
    offeredTo: env['MOAT_OFFERED_TO'] === 'anyone' ? 'anyone' : list('MOAT_OFFERED_TO'),
    directoryAnchors: list('MOAT_DIRECTORY_ANCHORS'),
    logLevel: env['MOAT_LOG_LEVEL'],
    inbound: flag('MOAT_INBOUND'),
  });
}

/** `FIRST-LAST`, or one port. */
function isPortRange(text: string): boolean {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  return first >= 1 && first <= last && last <= 65_535;
}

function check(origin: string, value: object): NodeConfigInput {
  const parsed = schema.safeParse(defined(value));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path ?? [];
  const where = origin === FLAGS ? flagOf(String(path[0])) : `${origin}: ${path.join('.')}`;
  throw new MoatError('CONFIG_INVALID', `${where}: ${issue?.message ?? 'invalid'}`);
}

/** `linkPort` as it was typed: `--link-port`. */
function flagOf(field: string): string {
  return `--${field.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function defined(value: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined && field !== ''));
}

function defaultFiles(env: Readonly<Record<string, string | undefined>>): string[] {
  return ['/etc/moat/node.yaml', join(xdg(env, 'XDG_CONFIG_HOME', '.config'), 'moat', 'node.yaml')];
}

function xdg(env: Readonly<Record<string, string | undefined>>, name: string, fallback: string): string {
  const value = env[name];
  // The XDG specification: a relative path is invalid and ignored.
  return value !== undefined && isAbsolute(value) ? value : join(env['HOME'] ?? homedir(), fallback);
}
