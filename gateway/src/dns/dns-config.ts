/** `dns:` of gateway.yaml. */
import { isIP } from 'node:net';
import { z } from 'zod';
import type { HostPort } from '../config.ts';
import { complain, domain, hostPort, ipAddress } from '../config-values.ts';
import type { PeerAddress } from './health.ts';

/** As the file says it. */
export interface DnsFile {
  readonly resolvers?: readonly string[] | undefined;
  readonly listen?: readonly HostPort[] | undefined;
  readonly addresses?: readonly string[] | undefined;
  readonly peers?: readonly PeerAddress[] | undefined;
  readonly ns?: readonly string[] | undefined;
  readonly txt?: Readonly<Record<string, readonly string[]>> | undefined;
}

/** What the gateway does with the DNS. */
export interface DnsConfig {
  /** Asked for proofs: `ADDRESS` or `ADDRESS:PORT`; empty = those of the system. */
  readonly resolvers: readonly string[];
  /** Undefined = others serve the zone of the domain. */
  readonly server: DnsServerConfig | undefined;
}

export interface DnsServerConfig {
  readonly listen: readonly HostPort[];
  /** Addresses of this gateway; at least one. */
  readonly addresses: readonly string[];
  /** Other gateways of the domain. */
  readonly peers: readonly PeerAddress[];
  /** Name servers of the domain. @defaultValue `ns.<domain>` */
  readonly ns: readonly string[];
  /** Further texts, by whole name. */
  readonly txt: ReadonlyMap<string, readonly string[]>;
}

const HTTPS_PORT = 443;
const MAX_PLACES = 16;
const MAX_TEXT = 2_000;

const address = z.string().transform((text, context): PeerAddress => {
  if (isIP(text) !== 0) return { host: text, port: HTTPS_PORT };
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([\d.]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? '';
  if (isIP(host) !== 0 && Number(port) >= 1 && Number(port) <= 65_535) return { host, port: Number(port) };
  return complain(context, 'an address is ADDRESS, ADDRESS:PORT or [IPv6]:PORT');
});
const resolver = z
  .string()
  .refine((text) => address.safeParse(text).success, 'an address is ADDRESS, ADDRESS:PORT or [IPv6]:PORT');
const value = z.string().min(1).max(MAX_TEXT);
const listOf = <T>(one: z.ZodType<T>): z.ZodType<readonly T[]> =>
  z.union([one.transform((only) => [only]), z.array(one).min(1).max(MAX_PLACES)]);
/** Relative to the domain; `@` is the domain itself. */
const relative = z.string().regex(/^(@|[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*)$/);

const shape = {
  resolvers: z.array(resolver).min(1).max(MAX_PLACES).optional(),
  listen: listOf(hostPort).optional(),
  addresses: listOf(ipAddress).optional(),
  peers: z.array(address).max(MAX_PLACES).optional(),
  ns: z.array(domain).min(1).max(MAX_PLACES).optional(),
  txt: z.record(relative, listOf(value)).optional(),
};
const schema = z
  .strictObject(shape)
  .refine(({ listen, addresses }) => listen === undefined || addresses !== undefined, {
    path: ['addresses'],
    message: 'a name server needs addresses: where the public reaches this gateway',
  });

/** Keys of `dns:`. */
export const DNS_KEYS: readonly string[] = Object.keys(shape);
export const dnsSchema: z.ZodType<DnsFile> = schema;

/** With every default filled in. */
export function dnsConfigOf(file: DnsFile | undefined, domain: string): DnsConfig {
  const { resolvers = [], listen, addresses, peers = [], ns = [`ns.${domain}`], txt = {} } = file ?? {};
  if (listen === undefined || addresses === undefined) return { resolvers, server: undefined };
  const texts = Object.entries(txt).map(([name, values]) => [name === '@' ? domain : `${name}.${domain}`, values]);
  return {
    resolvers,
    server: { listen, addresses, peers, ns, txt: new Map(texts as [string, readonly string[]][]) },
  };
}
