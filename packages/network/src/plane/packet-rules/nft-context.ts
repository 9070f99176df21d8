/** What the chains of one member's packet rules share. */
import type { PortMaps } from './nft-maps.ts';
import type { AddressSets } from './nft-sets.ts';
import type { Addresses, CarriedPort, Granted, PlanePolicy, Transport } from './policy.ts';

export interface ChainContext extends PlanePolicy {
  /** `policy.carried`, one list a port. */
  readonly carriedByPort: readonly (readonly CarriedPort[])[];
  readonly sets: AddressSets;
  readonly maps: PortMaps;
}

export const TRANSPORTS: readonly Transport[] = ['tcp', 'udp'];

/** Errors about a connection that stands, those that tell a smaller MTU above all; of which ones `whose` says. */
export function errors(whose: { readonly ipv4: readonly string[]; readonly ipv6: readonly string[] }): string[] {
  const type4 = 'icmp type { destination-unreachable, time-exceeded, parameter-problem }';
  const type6 = 'icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }';
  return [
    ...whose.ipv4.map((side) => `ct state related ct original ip ${side} ${type4} accept`),
    ...whose.ipv6.map((side) => `ct state related ct original ip6 ${side} ${type6} accept`),
  ];
}

/** Those of this member: opened by it or to it. */
export function ownErrors({ own }: ChainContext): string[] {
  const sides = (address: string): string[] => [`saddr ${address}`, `daddr ${address}`];
  return errors({ ipv4: sides(own.ipv4), ipv6: sides(own.ipv6) });
}

/** Connections to the internet: of IPv6 all that is stands in 2000::/3. */
export const PUBLIC4 = 'ct original ip daddr != @special4';
export const PUBLIC6 = 'ct original ip6 daddr 2000::/3 ct original ip6 daddr != @special6';

/** Packets of connections that others opened to services of ours: at which port, and where they really end. */
export function toOurs({ own, maps }: ChainContext, direction: string): string[] {
  return TRANSPORTS.flatMap((transport) => {
    const end = (family: string): string =>
      `meta l4proto ${transport} ct original proto-dst . ct reply ${family} saddr . ct reply proto-src vmap MAP`;
    return [
      ...maps.rule(`serve_${transport}4`, `${direction} ct original ip daddr ${own.ipv4} ${end('ip')}`),
      ...maps.rule(`serve_${transport}6`, `${direction} ct original ip6 daddr ${own.ipv6} ${end('ip6')}`),
    ];
  });
}

/** Packets of connections that programs here opened: at which port; the chain it leads to asks to whom. */
export function toOthers({ maps }: ChainContext, direction: string): string[] {
  return TRANSPORTS.flatMap((transport) =>
    maps.rule(`reach_${transport}`, `${direction} meta l4proto ${transport} ct original proto-dst vmap MAP`),
  );
}

/** What stands before a rule that ends. */
export function during({ untilMs }: Pick<Granted, 'untilMs'>): string {
  return untilMs === Infinity ? '' : `meta time < ${Math.floor(untilMs / 1000)} `;
}

/** Packets, both ways, of connections that `from` opened to `to`. */
export function between({ from, to }: Pick<CarriedPort, 'from' | 'to'>, sets: AddressSets, which = ''): string[] {
  const kind = `${during(from)}${which}`;
  const [from4, to4, from6, to6] = [sets.ipv4(from.ipv4), sets.ipv4(to.ipv4), sets.ipv6(from.ipv6), sets.ipv6(to.ipv6)];
  return [
    ...(from4 && to4 ? [`${kind}ct original ip saddr ${from4} ct original ip daddr ${to4} accept`] : []),
    ...(from6 && to6 ? [`${kind}ct original ip6 saddr ${from6} ct original ip6 daddr ${to6} accept`] : []),
  ];
}

export function isNobody(all: readonly Addresses[]): boolean {
  return all.every(({ ipv4, ipv6 }) => ipv4.length + ipv6.length === 0);
}
