/**
 * Packet rules of one member's interface in the language of nftables; 1.0.6 reads them.
 *
 * A packet's way in: `early` (sources and headers) → `arrive` (on to the target) → `incoming` → the service. Through:
 * `passing`. Out: `outgoing`. Each packet is judged by the connection it belongs to, never by "established" alone: what a
 * version takes away ends with the next packet. One lookup finds the port and one the sender, however many members.
 */
import {
  PUBLIC4,
  PUBLIC6,
  between,
  during,
  isNobody,
  ownErrors,
  toOthers,
  toOurs,
  type ChainContext,
} from './nft-context.ts';
import { PortMaps, isWildcardToo } from './nft-maps.ts';
import { leaveChain, passingChain, specialSets } from './nft-passing.ts';
import { AddressSets, block } from './nft-sets.ts';
import type { CarriedPort, PlanePolicy, ReachedPort, ServedPort } from './policy.ts';

/** What follows `table inet <name>`: sets, maps and chains. */
export function nftChains(policy: PlanePolicy): string {
  const { name } = policy;
  const sets = new AddressSets();
  const ports = Map.groupBy(policy.carried, ({ transport, port }) => `${transport} ${port}`);
  const carriedByPort = [...ports.values()];
  const context = { ...policy, carriedByPort, sets, maps: new PortMaps(policy, carriedByPort) };
  const chains = [
    ...policy.served.map((port, i) => serveChain(port, i, sets)),
    ...policy.reached.map((port, i) => reachChain(port, i, sets)),
    ...carriedByPort.map((each, i) => carryChain(each, i, sets)),
    earlyChain(context),
    enteringChain(context),
    ...arriveChains(context),
    hooked('incoming', 'input', [`iifname "${name}" jump come_in`]),
    comeInChain(context),
    hooked('outgoing', 'output', [`oifname "${name}" jump go_out`]),
    goOutChain(context),
    hooked('passing', 'forward', [`iifname "${name}" jump pass`, `oifname "${name}" jump pass`]),
    passingChain(context),
    ...leaveChain(context),
  ];
  return `${[...specialSets(policy), ...sets.definitions(), ...context.maps.definitions(), ...chains].join('\n')}\n`;
}

/** Who may reach a service; a map leads here by its port and by where the connection really ends. */
function serveChain({ service, from }: ServedPort, i: number, sets: AddressSets): string {
  const rules = from.flatMap((some) => {
    const [from4, from6] = [sets.ipv4(some.ipv4), sets.ipv6(some.ipv6)];
    return [
      ...(from4 === undefined ? [] : [`${during(some)}ct original ip saddr ${from4} accept`]),
      ...(from6 === undefined ? [] : [`${during(some)}ct original ip6 saddr ${from6} accept`]),
    ];
  });
  return block(`chain serve_${i}`, [`# ${service}`, ...rules]);
}

function reachChain({ to }: ReachedPort, i: number, sets: AddressSets): string {
  const [to4, to6] = [sets.ipv4(to.ipv4), sets.ipv6(to.ipv6)];
  return block(`chain reach_${i}`, [
    ...(to4 === undefined ? [] : [`ct original ip daddr ${to4} accept`]),
    ...(to6 === undefined ? [] : [`ct original ip6 daddr ${to6} accept`]),
  ]);
}

function carryChain(ports: readonly CarriedPort[], i: number, sets: AddressSets): string {
  const rules = ports.flatMap((port) => between(port, sets));
  return block(`chain carry_${i}`, rules);
}

/** Before connections are looked up: what nobody may send, and our own address asked for from elsewhere. */
function earlyChain({ name, own }: ChainContext): string {
  return block('chain early', [
    'type filter hook prerouting priority -300',
    'policy accept',
    `iifname "${name}" jump entering`,
    // All packets of the machine come by here: the address, which few have, is asked first.
    `ip daddr ${own.ipv4} iifname != { "${name}", "lo" } counter drop`,
    `ip6 daddr ${own.ipv6} iifname != { "${name}", "lo" } counter drop`,
  ]);
}

function enteringChain({ own, known, leaves, carried, leaving, sets }: ChainContext): string {
  const [known4, known6] = [sets.ipv4(known.ipv4), sets.ipv6(known.ipv6)];
  const strange4 = known4 === undefined ? '' : `ip saddr != ${known4} `;
  const strange6 = known6 === undefined ? '' : `ip6 saddr != ${known6} `;
  const passesOn = carried.length > 0 || !isNobody(leaving);
  return block('chain entering', [
    // What nearly all packets are, and none of the other rules is about: no options, no headers before TCP, UDP and ICMP.
    ...(known4 === undefined ? [] : [`ip saddr ${known4} ip daddr ${own.ipv4} ip hdrlength 5 accept`]),
    ...(known6 === undefined ? [] : [`ip6 saddr ${known6} ip6 daddr ${own.ipv6} ip6 nexthdr { 6, 17, 58 } accept`]),
    ...(leaves
      ? [
          `${strange4}ip saddr @special4 counter drop`,
          `${strange6}ip6 saddr != 2000::/3 counter drop`,
          `${strange6}ip6 saddr @special6 counter drop`,
        ]
      : [`${strange4}meta nfproto ipv4 counter drop`, `${strange6}meta nfproto ipv6 counter drop`]),
    ...(passesOn
      ? [
          'ip daddr 127.0.0.0/8 counter drop',
          `ip daddr != ${own.ipv4} fib daddr type { local, broadcast, multicast } counter drop`,
          `ip6 daddr != ${own.ipv6} fib daddr type { local, anycast, multicast } counter drop`,
        ]
      : [`ip daddr != ${own.ipv4} counter drop`, `ip6 daddr != ${own.ipv6} counter drop`]),
    // Options and headers that route, or that hide what follows them from simpler firewalls. Fragments have been put
    // together before they come here.
    'ip hdrlength > 5 counter drop',
    ...['hbh', 'rt', 'dst', 'mh'].map((header) => `exthdr ${header} exists counter drop`),
  ]);
}

/**
 * On to the targets, before Docker and others send anything on; for programs here that use the member's own address
 * too. A datagram server on all addresses answers from the one it was asked at: packets to it stay as they are.
 */
function arriveChains({ name, own, served, maps }: ChainContext): string[] {
  if (served.length === 0) return [];
  const wildcards = served.filter(isWildcardToo).map(({ port }) => port);
  const [at4, at6] = [`ip daddr ${own.ipv4}`, `ip6 daddr ${own.ipv6}`];
  const [dnat4, dnat6] = ['ip', 'ip6'].map((family) => `dnat ${family} to meta l4proto . th dport map MAP`);
  return [
    block('chain arrive', [
      'type nat hook prerouting priority -110',
      'policy accept',
      ...(wildcards.length === 0
        ? []
        : [`iifname "${name}" ${at4} udp dport { ${wildcards.join(', ')} } socket wildcard 1 accept`]),
      ...maps.rule('targets4', `iifname "${name}" ${at4} ${dnat4}`),
      ...maps.rule('targets6', `iifname "${name}" ${at6} ${dnat6}`),
    ]),
    block('chain arrive_here', [
      'type nat hook output priority -110',
      'policy accept',
      ...maps.rule('own_targets4', `oifname "lo" ${at4} ${dnat4}`),
      ...maps.rule('own_targets6', `oifname "lo" ${at6} ${dnat6}`),
    ]),
  ];
}

function comeInChain(context: ChainContext): string {
  const { own, pairs, leaves, sets } = context;
  const reply = 'ct direction reply';
  const [ours4, ours6] = [`${reply} ct original ip saddr ${own.ipv4}`, `${reply} ct original ip6 saddr ${own.ipv6}`];
  const [pairs4, pairs6] = [sets.ipv4(pairs.ipv4), sets.ipv6(pairs.ipv6)];
  return block('chain come_in', [
    'ct state invalid counter drop',
    ...toOurs(context, 'ct direction original'),
    ...toOthers(context, ours4),
    ...toOthers(context, ours6),
    ...(leaves ? [`${ours4} ${PUBLIC4} accept`, `${ours6} ${PUBLIC6} accept`] : []),
    ...(pairs4 === undefined
      ? []
      : [
          `ip saddr ${pairs4} ip daddr ${own.ipv4} icmp type echo-request accept`,
          `ip saddr ${pairs4} ${reply} icmp type echo-reply accept`,
        ]),
    ...(pairs6 === undefined
      ? []
      : [
          `ip6 saddr ${pairs6} ip6 daddr ${own.ipv6} icmpv6 type echo-request accept`,
          `ip6 saddr ${pairs6} ${reply} icmpv6 type echo-reply accept`,
        ]),
    ...ownErrors(context),
    'counter drop',
  ]);
}

/** What programs here may not say is refused, so that they hear of it at once. */
function goOutChain(context: ChainContext): string {
  const { own, pairs, leaves, sets } = context;
  const ours4 = `ct direction original ct original ip saddr ${own.ipv4}`;
  const ours6 = `ct direction original ct original ip6 saddr ${own.ipv6}`;
  const [pairs4, pairs6] = [sets.ipv4(pairs.ipv4), sets.ipv6(pairs.ipv6)];
  const echo = 'type { echo-request, echo-reply } accept';
  return block('chain go_out', [
    'ct state invalid counter drop',
    ...toOurs(context, 'ct direction reply'),
    ...toOthers(context, ours4),
    ...toOthers(context, ours6),
    ...(leaves ? [`${ours4} ${PUBLIC4} accept`, `${ours6} ${PUBLIC6} accept`] : []),
    ...(pairs4 === undefined ? [] : [`ip saddr ${own.ipv4} ip daddr ${pairs4} icmp ${echo}`]),
    ...(pairs6 === undefined ? [] : [`ip6 saddr ${own.ipv6} ip6 daddr ${pairs6} icmpv6 ${echo}`]),
    ...ownErrors(context),
    'counter reject with icmpx type admin-prohibited',
  ]);
}

function hooked(name: string, hook: string, rules: readonly string[]): string {
  return block(`chain ${name}`, [`type filter hook ${hook} priority 0`, 'policy accept', ...rules]);
}
