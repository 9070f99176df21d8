/** `ip` of iproute2: an interface, its addresses and its routes. */
import { canonicalCidr, canonicalInterfaceAddress, isIpv6Range } from './cidr.ts';
import { failure } from './errors.ts';
import type { ToolRun } from './tool.ts';

/** What `ip -j address show` says of one interface. */
export interface IpLink {
  readonly up: boolean;
  /** Bytes. */
  readonly mtu: number;
  /** With prefix length. */
  readonly addresses: readonly string[];
}

/** Reads the one interface that `ip -j address show dev NAME` printed. @throws `TUNNEL_FAILED` when it is something else. */
export function parseIpLink(text: string): IpLink {
  const [link, ...more] = readList(text);
  if (link === undefined || more.length > 0) throw strange();
  const { flags, mtu, addr_info: addresses } = link;
  if (!Array.isArray(flags) || typeof mtu !== 'number' || !Array.isArray(addresses)) throw strange();
  return {
    up: flags.includes('UP'),
    mtu,
    addresses: addresses.filter(isRecord).map(({ local, prefixlen }) => {
      if (typeof local !== 'string' || typeof prefixlen !== 'number') throw strange();
      return canonicalInterfaceAddress(`${local}/${prefixlen}`);
    }),
  };
}

/**
 * Routes of the main table that `ip -j route show dev NAME table all` printed, without those that the kernel makes of
 * addresses. @throws `TUNNEL_FAILED` when it is something else.
 */
export function parseIpRoutes(text: string): readonly string[] {
  return readList(text)
    .filter(({ protocol, table }) => protocol !== 'kernel' && table === undefined)
    .map(({ dst, pref }) => {
      if (typeof dst !== 'string') throw strange();
      // Both families say "default"; only routes of IPv6 have a preference.
      return dst === 'default' ? everywhere(pref === undefined ? 4 : 6) : canonicalCidr(dst);
    });
}

export function showLink(name: string, namespace: string | null): ToolRun {
  return { tool: 'ip', args: ['-j', 'address', 'show', 'dev', name], namespace };
}

/** The run that prints an interface as {@link showLink} does and, on the next line, its routes, where it has some. */
export function showLinkAndRoutes(name: string, namespace: string | null): ToolRun {
  const input = `address show dev ${name}\nroute show dev ${name} table all\n`;
  return { tool: 'ip', args: ['-j', '-batch', '-'], input, namespace };
}

/** True when `ip` complains that there is no such interface. */
export function isNoDevice(complaint: string): boolean {
  return /does not exist|cannot find device/i.test(complaint);
}

/** The run of several changes, one after the other; it ends at the first that fails. */
export function ipBatch(lines: readonly string[], namespace: string | null): ToolRun {
  return { tool: 'ip', args: ['-batch', '-'], input: lines.map((line) => `${line}\n`).join(''), namespace };
}

/** Nothing comes or goes by an interface that is down. */
export function linkDown(name: string, namespace: string | null): ToolRun {
  return ipBatch([`link set dev ${name} down`], namespace);
}

/** The kernel adds no route of its own for the address's range: what leads into the interface is said by routes. */
export function addAddress(name: string, address: string): string {
  const flags = isIpv6Range(address) ? 'noprefixroute nodad' : 'noprefixroute';
  return `address add ${address} dev ${name} ${flags}`;
}

export function removeAddress(name: string, address: string): string {
  return `address del ${address} dev ${name}`;
}

export function addRoute(name: string, route: string): string {
  return `route add ${route} dev ${name}`;
}

export function removeRoute(name: string, route: string): string {
  return `route del ${route} dev ${name}`;
}

function everywhere(family: 4 | 6): string {
  return family === 4 ? '0.0.0.0/0' : '::/0';
}

function readList(text: string): Record<string, unknown>[] {
  // `ip` prints nothing at all for an empty list.
  if (text.trim() === '') return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw failure('TUNNEL_FAILED', 'ip printed what is not JSON', { cause: error });
  }
  // A filter by device leaves empty objects for the others.
  if (!Array.isArray(value) || !value.every(isRecord)) throw strange();
  return value.filter((entry) => Object.keys(entry).length > 0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function strange(): Error {
  return failure('TUNNEL_FAILED', 'ip printed what this version does not understand');
}
