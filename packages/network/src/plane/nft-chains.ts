/**
 * Packet rules of one member's interface in the language of nftables; 1.0.6 reads them.
 *
 * A packet's way in: `early` (sources and headers) → `arrive` (on to the target) → `incoming` → the service. Through:
 * `passing`. Out: `outgoing`. Each packet is judged by the connection it belongs to, never by "established" alone: what a
 * version takes away ends with the next packet. One lookup finds the port and one the sender, however many members.
 */
import { AddressSets, block } from './nft-sets.ts';
import type { Addresses, CarriedPort, PlanePolicy, ReachedPort, ServedPort, Transport } from './policy.ts';

/** Never the internet: loopback, private, shared, documentation, multicast, reserved (RFC 6890). */
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
/** The same within 2000::/3, which holds all that is: Teredo, ORCHID, benchmarks, documentation, 6to4. */
const SPECIAL6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

const TRANSPORTS: readonly Transport[] = ['tcp', 'udp'];
const ERRORS = [
  'ct state related icmp type { destination-unreachable, time-exceeded, parameter-problem } accept',
  'ct state related icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept',
];
/** Of all private networks on this machine. */
const OTHERS = '"moat*"';

/** What follows `table inet <name>`: sets, maps and chains. */
export function nftChains(policy: PlanePolicy): string {
  const sets = new AddressSets();
  const carried = byPort(policy.carried);
  const chains = [
    ...policy.served.map((port, i) => serveChain(port, i, sets)),
    ...policy.reached.map((port, i) => reachChain(port, i, sets)),
    ...carried.map((ports, i) =>
      block(
        `chain carry_${i}`,
        ports.flatMap((port) => between(port, sets)),
      ),
    ),
    block('chain early', early(policy)),
    block('chain entering', entering(policy, sets)),
    block('chain arrive', arrive(policy)),
    block('chain arrive_here', arriveHere(policy)),
    block('chain incoming', hooked('input 0', policy, ['iifname NAME jump come_in'])),
    block('chain come_in', comeIn(policy, sets)),
    block('chain outgoing', hooked('output 0', policy, ['oifname NAME jump go_out'])),
    block('chain go_out', goOut(policy, sets)),
    block('chain passing', hooked('forward 0', policy, ['iifname NAME jump pass', 'oifname NAME jump pass'])),
    block('chain pass', pass(policy, carried, sets)),
    ...leave(policy, sets),
  ];
  const all = [...specials(policy), ...sets.definitions(), ...portMaps(policy, carried), ...chains];
  return `${all.join('\n')}\n`;
}

/** Says who may reach a service; a map leads here by its port and by where the connection really ends. */
function serveChain({ service, from }: ServedPort, i: number, sets: AddressSets): string {
  return block(`chain serve_${i}`, [
    `# ${service}`,
    ...when(sets.ipv4(from.ipv4), (set) => `ct original ip saddr ${set} accept`),
    ...when(sets.ipv6(from.ipv6), (set) => `ct original ip6 saddr ${set} accept`),
  ]);
}

function reachChain({ to }: ReachedPort, i: number, sets: AddressSets): string {
  return block(`chain reach_${i}`, [
    ...when(sets.ipv4(to.ipv4), (set) => `ct original ip daddr ${set} accept`),
    ...when(sets.ipv6(to.ipv6), (set) => `ct original ip6 daddr ${set} accept`),
  ]);
}

/** Packets of connections, both ways, that `from` opened to `to`. */
function between({ from, to }: Pick<CarriedPort, 'from' | 'to'>, sets: AddressSets, kind = ''): string[] {
  return [
    ...when(sets.ipv4(from.ipv4), (a) =>
      when(sets.ipv4(to.ipv4), (b) => `${kind}ct original ip saddr ${a} ct original ip daddr ${b} accept`),
    ),
    ...when(sets.ipv6(from.ipv6), (a) =>
      when(sets.ipv6(to.ipv6), (b) => `${kind}ct original ip6 saddr ${a} ct original ip6 daddr ${b} accept`),
    ),
  ].flat();
}

function portMaps(policy: PlanePolicy, carried: readonly (readonly CarriedPort[])[]): string[] {
  const { own, served, reached } = policy;
  const numbered = served.map((port, i) => ({ ...port, i }));
  const ends = 'inet_service . FAMILY . inet_service : verdict';
  const jumps = (
    ports: readonly Pick<ReachedPort, 'port' | 'transport'>[],
    to: string,
    transport: Transport,
  ): string[] => ports.flatMap((each, i) => (each.transport === transport ? [`${each.port} : jump ${to}_${i}`] : []));
  const targets = (ports: readonly ServedPort[], isIpv6: boolean): string[] =>
    ports
      .filter(({ target }) => target.host.includes(':') === isIpv6)
      .map(({ transport, port, target }) => `${transport} . ${port} : ${target.host} . ${target.port}`);
  const target = 'inet_proto . inet_service : FAMILY . inet_service';
  const ours = served.filter(({ self }) => self);
  return [
    ...TRANSPORTS.flatMap((transport) => {
      const here = numbered.filter((each) => each.transport === transport);
      const ending = (isIpv6: boolean): string[] =>
        here
          .filter((each) => each.target.host.includes(':') === isIpv6)
          .flatMap((each) =>
            [each.target, ...(isWildcardToo(each) ? [{ host: own.ipv4, port: each.port }] : [])].map(
              ({ host, port }) => `${each.port} . ${host} . ${port} : jump serve_${each.i}`,
            ),
          );
      return [
        map(`serve_${transport}4`, ends.replace('FAMILY', 'ipv4_addr'), ending(false)),
        map(`serve_${transport}6`, ends.replace('FAMILY', 'ipv6_addr'), ending(true)),
        map(`reach_${transport}`, 'inet_service : verdict', jumps(reached, 'reach', transport)),
        map(
          `carry_${transport}`,
          'inet_service : verdict',
          jumps(
            carried.flatMap(([first]) => first ?? []),
            'carry',
            transport,
          ),
        ),
      ];
    }),
    map('targets4', target.replace('FAMILY', 'ipv4_addr'), targets(served, false)),
    map('targets6', target.replace('FAMILY', 'ipv6_addr'), targets(served, true)),
    map('own_targets4', target.replace('FAMILY', 'ipv4_addr'), targets(ours, false)),
    map('own_targets6', target.replace('FAMILY', 'ipv6_addr'), targets(ours, true)),
  ];
}

/** Before connections are looked up: what nobody may send, and our own address asked for from elsewhere. */
function early({ name, own }: PlanePolicy): string[] {
  return [
    'type filter hook prerouting priority -300',
    'policy accept',
    `iifname "${name}" jump entering`,
    `iifname != { "${name}", "lo" } ip daddr ${own.ipv4} counter drop`,
    `iifname != { "${name}", "lo" } ip6 daddr ${own.ipv6} counter drop`,
  ];
}

function entering({ own, known, leaves, carried, leaving }: PlanePolicy, sets: AddressSets): string[] {
  const [known4, known6] = [sets.ipv4(known.ipv4), sets.ipv6(known.ipv6)];
  const [not4, not6] = [
    known4 === undefined ? '' : `ip saddr != ${known4} `,
    known6 === undefined ? '' : `ip6 saddr != ${known6} `,
  ];
  const passesOn = carried.length > 0 || !isNobody(leaving);
  return [
    ...(leaves
      ? [
          `${not4}ip saddr @special4 counter drop`,
          `${not6}ip6 saddr != 2000::/3 counter drop`,
          `${not6}ip6 saddr @special6 counter drop`,
        ]
      : [`${not4}meta nfproto ipv4 counter drop`, `${not6}meta nfproto ipv6 counter drop`]),
    ...(passesOn
      ? ['ip daddr 127.0.0.0/8 counter drop', 'ip6 daddr ::1 counter drop']
      : [`ip daddr != ${own.ipv4} counter drop`, `ip6 daddr != ${own.ipv6} counter drop`]),
    // Options and headers that route, or that hide what follows them from simpler firewalls. Fragments are put together
    // before they come here.
    'ip hdrlength > 5 counter drop',
    ...['hbh', 'rt', 'dst', 'mh'].map((header) => `exthdr ${header} exists counter drop`),
  ];
}

/**
 * Before Docker and others send anything on. A datagram server on all addresses answers from the one it was asked at:
 * packets to it stay as they are.
 */
function arrive({ name, own, served }: PlanePolicy): string[] {
  const ports = served.filter(isWildcardToo).map(({ port }) => port);
  return [
    'type nat hook prerouting priority -110',
    'policy accept',
    ...(ports.length === 0
      ? []
      : [`iifname "${name}" ip daddr ${own.ipv4} udp dport { ${ports.join(', ')} } socket wildcard 1 accept`]),
    `iifname "${name}" ip daddr ${own.ipv4} dnat ip to meta l4proto . th dport map @targets4`,
    `iifname "${name}" ip6 daddr ${own.ipv6} dnat ip6 to meta l4proto . th dport map @targets6`,
  ];
}

/** Programs of this machine that use the member's own address. */
function arriveHere({ own }: PlanePolicy): string[] {
  return [
    'type nat hook output priority -110',
    'policy accept',
    `oifname "lo" ip daddr ${own.ipv4} dnat ip to meta l4proto . th dport map @own_targets4`,
    `oifname "lo" ip6 daddr ${own.ipv6} dnat ip6 to meta l4proto . th dport map @own_targets6`,
  ];
}

function comeIn({ own, pairs, leaves }: PlanePolicy, sets: AddressSets): string[] {
  const ours = 'ct direction reply';
  return [
    'ct state invalid counter drop',
    ...toOurs(own, 'ct direction original'),
    ...TRANSPORTS.map(
      (transport) => `${ours} meta l4proto ${transport} ct original proto-dst vmap @reach_${transport}`,
    ),
    ...(leaves ? [`${ours} ct original ip daddr != @special4 accept`, `${ours} ${PUBLIC6} accept`] : []),
    ...when(sets.ipv4(pairs.ipv4), (set) => [
      `ip saddr ${set} ip daddr ${own.ipv4} icmp type echo-request accept`,
      `ip saddr ${set} ${ours} icmp type echo-reply accept`,
    ]),
    ...when(sets.ipv6(pairs.ipv6), (set) => [
      `ip6 saddr ${set} ip6 daddr ${own.ipv6} icmpv6 type echo-request accept`,
      `ip6 saddr ${set} ${ours} icmpv6 type echo-reply accept`,
    ]),
    ...ERRORS,
    'counter drop',
  ].flat();
}

/** What this member may not say is refused, so that programs hear of it at once. */
function goOut({ own, pairs, leaves }: PlanePolicy, sets: AddressSets): string[] {
  const opened4 = `ct direction original ct original ip saddr ${own.ipv4}`;
  const opened6 = `ct direction original ct original ip6 saddr ${own.ipv6}`;
  return [
    'ct state invalid counter drop',
    ...toOurs(own, 'ct direction reply'),
    ...TRANSPORTS.flatMap((transport) =>
      [opened4, opened6].map(
        (opened) => `${opened} meta l4proto ${transport} ct original proto-dst vmap @reach_${transport}`,
      ),
    ),
    ...(leaves ? [`${opened4} ct original ip daddr != @special4 accept`, `${opened6} ${PUBLIC6} accept`] : []),
    ...when(
      sets.ipv4(pairs.ipv4),
      (set) => `ip daddr ${set} ip saddr ${own.ipv4} icmp type { echo-request, echo-reply } accept`,
    ),
    ...when(
      sets.ipv6(pairs.ipv6),
      (set) => `ip6 daddr ${set} ip6 saddr ${own.ipv6} icmpv6 type { echo-request, echo-reply } accept`,
    ),
    ...ERRORS,
    'counter reject with icmpx type admin-prohibited',
  ];
}

/** Connections of others to a service of ours: who opened it, at which port, and where it really ends. */
function toOurs(own: PlanePolicy['own'], direction: string): string[] {
  return TRANSPORTS.flatMap((transport) => {
    const end = (family: string): string => `ct original proto-dst . ct reply ${family} saddr . ct reply proto-src`;
    const head = `meta l4proto ${transport}`;
    return [
      `${direction} ct original ip daddr ${own.ipv4} ${head} ${end('ip')} vmap @serve_${transport}4`,
      `${direction} ct original ip6 daddr ${own.ipv6} ${head} ${end('ip6')} vmap @serve_${transport}6`,
    ];
  });
}

/** Targets on other hosts, devices behind us, and who leaves by us; never between two private networks. */
function pass(
  { name, own, leaving }: PlanePolicy,
  carried: readonly (readonly CarriedPort[])[],
  sets: AddressSets,
): string[] {
  const [inwards, outwards] = [`iifname "${name}" oifname != ${OTHERS}`, `oifname "${name}" iifname != ${OTHERS}`];
  const inside = `iifname "${name}" oifname "${name}"`;
  const clamp = 'tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu';
  const echo = carried
    .flat()
    .flatMap((port) => [
      ...between(
        { from: onlyIpv4(port.from), to: onlyIpv4(port.to) },
        sets,
        `${inside} icmp type { echo-request, echo-reply } `,
      ),
      ...between(
        { from: onlyIpv6(port.from), to: onlyIpv6(port.to) },
        sets,
        `${inside} icmpv6 type { echo-request, echo-reply } `,
      ),
    ]);
  return [
    'ct state invalid counter drop',
    clamp,
    ...toOurs(own, `${inwards} ct direction original`),
    ...toOurs(own, `${outwards} ct direction reply`),
    ...(carried.length === 0
      ? []
      : TRANSPORTS.map(
          (transport) => `${inside} meta l4proto ${transport} ct original proto-dst vmap @carry_${transport}`,
        )),
    ...new Set(echo),
    ...when(sets.ipv4(leaving.ipv4), (set) => [
      `${inwards} ct direction original ct original ip saddr ${set} ct original ip daddr != @special4 accept`,
      `${outwards} ct direction reply ct original ip saddr ${set} ct original ip daddr != @special4 accept`,
    ]).flat(),
    ...when(sets.ipv6(leaving.ipv6), (set) => [
      `${inwards} ct direction original ct original ip6 saddr ${set} ${PUBLIC6} accept`,
      `${outwards} ct direction reply ct original ip6 saddr ${set} ${PUBLIC6} accept`,
    ]).flat(),
    ...ERRORS,
    'counter drop',
  ];
}

const PUBLIC6 = 'ct original ip6 daddr 2000::/3 ct original ip6 daddr != @special6';

/** Hosts beyond this one know no way back to the network: they see this machine. */
function leave({ name, own, leaving, served }: PlanePolicy, sets: AddressSets): string[] {
  const isBeyond = served.some(({ target }) => !target.host.startsWith('127.'));
  if (!isBeyond && isNobody(leaving)) return [];
  const out = `oifname != { "lo", "${name}" }`;
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
      ...when(sets.ipv4(leaving.ipv4), (set) => `iifname "${name}" ${out} ct original ip saddr ${set} masquerade`),
      ...when(sets.ipv6(leaving.ipv6), (set) => `iifname "${name}" ${out} ct original ip6 saddr ${set} masquerade`),
    ]),
  ];
}

function specials({ leaves, leaving }: PlanePolicy): string[] {
  if (!leaves && isNobody(leaving)) return [];
  return [
    block('set special4', ['type ipv4_addr', 'flags interval', `elements = { ${SPECIAL4.join(', ')} }`]),
    block('set special6', ['type ipv6_addr', 'flags interval', `elements = { ${SPECIAL6.join(', ')} }`]),
  ];
}

function hooked(hook: string, { name }: PlanePolicy, statements: readonly string[]): string[] {
  const [where = '', priority = '0'] = hook.split(' ');
  return [
    `type filter hook ${where} priority ${priority}`,
    'policy accept',
    ...statements.map((statement) => statement.replace('NAME', `"${name}"`)),
  ];
}

function map(name: string, type: string, elements: readonly string[]): string {
  return block(`map ${name}`, [
    `type ${type}`,
    ...(elements.length === 0 ? [] : [`elements = { ${elements.join(', ')} }`]),
  ]);
}

/** One list a transport and port, in their first order. */
function byPort(carried: readonly CarriedPort[]): CarriedPort[][] {
  const ports = Map.groupBy(carried, ({ transport, port }) => `${transport} ${port}`);
  return [...ports.values()];
}

/** A UDP service at loopback with one port inside and out: its server may listen on all addresses. */
function isWildcardToo({ transport, port, target }: ServedPort): boolean {
  return transport === 'udp' && port === target.port && target.host.startsWith('127.');
}

function isNobody({ ipv4, ipv6 }: Addresses): boolean {
  return ipv4.length + ipv6.length === 0;
}

function onlyIpv4({ ipv4 }: Addresses): Addresses {
  return { ipv4, ipv6: [] };
}

function onlyIpv6({ ipv6 }: Addresses): Addresses {
  return { ipv4: [], ipv6 };
}

function when<T, R>(value: T | undefined, make: (value: T) => R | readonly R[]): readonly R[] {
  if (value === undefined) return [];
  const made = make(value);
  return Array.isArray(made) ? (made as readonly R[]) : [made as R];
}
