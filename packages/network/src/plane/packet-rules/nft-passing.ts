/** Packets that only pass through: targets on other hosts, devices behind this member, and who leaves by it. */
import {
  PUBLIC4,
  PUBLIC6,
  TRANSPORTS,
  between,
  during,
  errors,
  isNobody,
  toOurs,
  type ChainContext,
} from './nft-context.ts';
import { block } from './nft-sets.ts';

/** Never the internet: this host, private, shared, loopback, link-local, documentation, multicast, reserved (RFC 6890). */
const SPECIAL4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
];
/** Of 2000::/3: Teredo, benchmarks and ORCHID, documentation, 6to4. */
const SPECIAL6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

/** Interfaces of all private networks on this machine: nothing passes from one to another. */
const NETWORKS = '"moat*"';

export function passingChain(context: ChainContext): string {
  const { name, known, leaving, sets, maps, carriedByPort } = context;
  const inwards = `iifname "${name}" oifname != ${NETWORKS}`;
  const outwards = `oifname "${name}" iifname != ${NETWORKS}`;
  const inside = `iifname "${name}" oifname "${name}"`;
  const leave = (when: string, ours: string, internet: string): string[] => [
    `${when}${inwards} ct direction original ${ours} ${internet} accept`,
    `${when}${outwards} ct direction reply ${ours} ${internet} accept`,
  ];
  const of = (set: string | undefined): string[] => (set === undefined ? [] : [`saddr ${set}`]);
  return block('chain pass', [
    'ct state invalid counter drop',
    'tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu',
    ...toOurs(context, `${inwards} ct direction original`),
    ...toOurs(context, `${outwards} ct direction reply`),
    ...TRANSPORTS.flatMap((transport) =>
      maps.rule(`carry_${transport}`, `${inside} meta l4proto ${transport} ct original proto-dst vmap MAP`),
    ),
    ...new Set(
      carriedByPort
        .flat()
        .flatMap(({ from, to }) => [
          ...between({ from: { ...from, ipv6: [] }, to }, sets, `${inside} icmp type { echo-request, echo-reply } `),
          ...between({ from: { ...from, ipv4: [] }, to }, sets, `${inside} icmpv6 type { echo-request, echo-reply } `),
        ]),
    ),
    ...leaving.flatMap((some) => {
      const [from4, from6] = [sets.ipv4(some.ipv4), sets.ipv6(some.ipv6)];
      return [
        ...(from4 === undefined ? [] : leave(during(some), `ct original ip saddr ${from4}`, PUBLIC4)),
        ...(from6 === undefined ? [] : leave(during(some), `ct original ip6 saddr ${from6}`, PUBLIC6)),
      ];
    }),
    // All that passes was opened from inside.
    ...errors({ ipv4: of(sets.ipv4(known.ipv4)), ipv6: of(sets.ipv6(known.ipv6)) }),
    'counter drop',
  ]);
}

/** Hosts beyond this one know no way back to the network: they see this machine. */
export function leaveChain({ name, own, leaving, served, sets }: ChainContext): string[] {
  const isBeyond = served.some(({ target }) => !target.host.startsWith('127.'));
  if (!isBeyond && isNobody(leaving)) return [];
  const out = `oifname != { "lo", "${name}" }`;
  const leaving4 = sets.ipv4(leaving.flatMap(({ ipv4 }) => ipv4));
  const leaving6 = sets.ipv6(leaving.flatMap(({ ipv6 }) => ipv6));
  return [
    block('chain leave', [
      'type nat hook postrouting priority 100',
      'policy accept',
      ...(isBeyond
        ? [
            `${out} ct status dnat ct original ip daddr ${own.ipv4} masquerade`,
            `${out} ct status dnat ct original ip6 daddr ${own.ipv6} masquerade`,
          ]
        : []),
      ...(leaving4 === undefined ? [] : [`iifname "${name}" ${out} ct original ip saddr ${leaving4} masquerade`]),
      ...(leaving6 === undefined ? [] : [`iifname "${name}" ${out} ct original ip6 saddr ${leaving6} masquerade`]),
    ]),
  ];
}

/** The sets that `PUBLIC4` and `PUBLIC6` speak of. */
export function specialSets({
  leaves,
  leaving,
  nearby,
}: Pick<ChainContext, 'leaves' | 'leaving' | 'nearby'>): string[] {
  if (!leaves && isNobody(leaving)) return [];
  const set = (family: 4 | 6, ranges: readonly string[], more: readonly string[]): string =>
    block(`set special${family}`, [
      `type ipv${family}_addr`,
      'flags interval',
      // Where ranges lie in one another.
      ...(more.length > 0 ? ['auto-merge'] : []),
      `elements = { ${[...ranges, ...more].join(', ')} }`,
    ]);
  return [set(4, SPECIAL4, nearby.ipv4), set(6, SPECIAL6, nearby.ipv6)];
}
