/** Addresses at which a tunnel's UDP socket may be reached: what we offer, and what of a peer's offer we would use. */
import { BlockList, isIP } from 'node:net';

import type { Endpoint } from '@moat/core';

/** Of an own interface, IPv6, mapped by the router on request, or as an anchor saw it. */
export type CandidateKind = 'lan' | 'ipv6' | 'mapped' | 'observed';

export interface Candidate extends Endpoint {
  readonly kind: CandidateKind;
}

/** Candidates in one offer; more are refused. */
export const MAX_CANDIDATES = 16;
const MOST_LAN = 8;
const MOST_IPV6 = 3;
const MOST_OBSERVED = 4;

/** What a machine knows of its own addresses. */
export interface OwnAddresses {
  /** Of interfaces that are no tunnel's. */
  readonly local: readonly string[];
  /** UDP port of the tunnel. */
  readonly port: number;
  readonly seen: readonly Endpoint[];
  readonly mapped: Endpoint | null;
}

/** What we offer a peer, nothing twice. `excluded` are CIDRs inside tunnels. */
export function ownCandidates(own: OwnAddresses, excluded: readonly string[]): readonly Candidate[] {
  const inside = rangesOf(excluded);
  const local = own.local.filter((host) => isUsable(host) && !has(inside, host));
  const isGlobal6 = (host: string): boolean => isIP(host) === 6 && has(GLOBAL_IPV6, host);
  const all: Candidate[] = [
    ...(own.mapped === null ? [] : [{ kind: 'mapped' as const, ...own.mapped }]),
    ...own.seen.slice(0, MOST_OBSERVED).map(({ host, port }) => ({ kind: 'observed' as const, host, port })),
    ...local
      .filter(isGlobal6)
      .slice(0, MOST_IPV6)
      .map((host) => ({ kind: 'ipv6' as const, host, port: own.port })),
    ...local
      .filter((host) => !isGlobal6(host))
      .slice(0, MOST_LAN)
      .map((host) => ({ kind: 'lan' as const, host, port: own.port })),
  ];
  return distinct(all.filter(({ host }) => isUsable(host) && !has(inside, host)));
}

/**
 * What of a peer's offer may be sent to. A peer must not point us at this machine, at a tunnel, at everybody, or at
 * machines of our own LAN: private addresses count only where both are likely to be in the same network, which is when
 * anchors see both under one address, or see one of us under a private one, or nobody is seen at all.
 */
export function usableCandidates(
  theirs: readonly Candidate[],
  ours: OwnAddresses,
  excluded: readonly string[],
): readonly Candidate[] {
  const inside = rangesOf(excluded);
  const seenHosts = new Set(ours.seen.map(({ host }) => host));
  const together = theirs.some(({ kind, host }) => kind === 'observed' && seenHosts.has(host));
  const unseen = ours.seen.length === 0 || !theirs.some(({ kind }) => kind === 'observed');
  const weAreSeenPrivately = ours.seen.some(({ host }) => isPrivate(host));
  return distinct(theirs).filter(({ kind, host, port }) => {
    if (!isUsable(host) || has(inside, host)) return false;
    if (port === ours.port && ours.local.includes(host)) return false;
    if (kind === 'ipv6') return isIP(host) === 6 && has(GLOBAL_IPV6, host);
    if (!isPrivate(host)) return true;
    if (kind === 'lan') return together || (unseen && ours.local.some((own) => sameSubnet(own, host)));
    return together || weAreSeenPrivately;
  });
}

/** True for two addresses of one IPv4 /24 or IPv6 /64. */
export function sameSubnet(a: string, b: string): boolean {
  const family = isIP(a);
  if (family === 0 || family !== isIP(b)) return false;
  const subnet = new BlockList();
  const type = family === 4 ? 'ipv4' : 'ipv6';
  subnet.addSubnet(a, family === 4 ? 24 : 64, type);
  return subnet.check(b, type);
}

/** True for addresses that mean something else in each network. */
export function isPrivate(host: string): boolean {
  return has(PRIVATE, host);
}

/** False for what is no address, and for those of this machine, this wire, and everybody. */
export function isUsable(host: string): boolean {
  return isIP(host) !== 0 && !host.includes('%') && !has(NEVER, host);
}

function distinct(candidates: readonly Candidate[]): Candidate[] {
  const seen = new Set<string>();
  return candidates.filter(({ kind, host, port }) => {
    // A mapped port says more than an address does: it lets everybody in.
    const key = `${host} ${port} ${kind === 'mapped'}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** A list a family: Node checks an IPv4 address against IPv6 ranges too, as the IPv6 address that it is mapped to. */
interface Ranges {
  readonly ipv4: BlockList;
  readonly ipv6: BlockList;
}

function familyOf(host: string): keyof Ranges | undefined {
  const family = isIP(host);
  return family === 0 ? undefined : family === 4 ? 'ipv4' : 'ipv6';
}

function has(ranges: Ranges, host: string): boolean {
  const family = familyOf(host);
  return family !== undefined && ranges[family].check(host, family);
}

function rangesOf(cidrs: readonly string[]): Ranges {
  const ranges: Ranges = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const cidr of cidrs) {
    const [host = '', length = ''] = cidr.split('/');
    const family = familyOf(host);
    if (family !== undefined) ranges[family].addSubnet(host, Number(length), family);
  }
  return ranges;
}

/** This machine, this network, everybody: RFC 6890. IPv4 inside IPv6 would go around the other ranges. */
const NEVER = rangesOf([
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/8',
  '64:ff9b::/96',
  'fe80::/10',
  'ff00::/8',
]);
const PRIVATE = rangesOf(['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7']);
const GLOBAL_IPV6 = rangesOf(['2000::/3']);
