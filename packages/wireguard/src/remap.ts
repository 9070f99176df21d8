/**
 * A network whose range is taken on this machine stands under another one: WireGuard in a hidden namespace, and in its
 * place the end of a virtual cable that has the interface's name, its addresses and rules, all in the other range. In the
 * hidden namespace each address of one range is the same address of the other (1:1), and nothing goes anywhere else.
 */
import type { Remap, TunnelSpec } from '@moat/core';
import type { Backend } from './backend.ts';
import { canonicalCidr, canonicalInterfaceAddress, isIpv6Range, moveRange } from './cidr.ts';
import { failure } from './errors.ts';
import { ipBatch } from './ip.ts';
import type { Place } from './namespace.ts';
import { parseNftMarks, replaceTable, rulesDigest, showMarks } from './nft.ts';
import type { Tools } from './tool.ts';

/** The end of the cable in the hidden namespace. */
const INNER = 'veth0';
/** Both ends have it: without ARP a packet is addressed to its sender's own. */
const MAC = '02:00:00:00:00:01';

/** The spec as the machine's programs see it. @throws `TUNNEL_FAILED` when the two ranges do not match. */
export function outsideOf(spec: TunnelSpec, remap: Remap): TunnelSpec {
  checkRemap(remap);
  const moved = (range: string): string => moveRange(range, remap.network, remap.as);
  return { ...spec, addresses: spec.addresses.map(moved), routes: spec.routes.map(moved) };
}

/** Makes the interface in the hidden namespace, and the cable in its place, down. */
export async function createRemapped(
  tools: Tools,
  backend: Backend,
  name: string,
  place: Place,
  hidden: Place,
): Promise<void> {
  await backend.create(name, hidden);
  const cable = `link add dev ${name} address ${MAC} type veth peer name ${INNER} address ${MAC} netns ${hidden.path}`;
  await tools.run(ipBatch([cable, `link set dev ${name} arp off`], place.path));
}

/** Brings the hidden namespace in line, where it is not: true when something was done. */
export async function settleHidden(tools: Tools, spec: TunnelSpec, remap: Remap, hidden: Place): Promise<boolean> {
  const { name } = spec;
  const { path } = hidden;
  const lines = linesInside(spec, remap);
  const chains = `${rulesInside(name, remap)}\n# ${lines.join('; ')}`;
  const marks = parseNftMarks(await tools.run(showMarks(path)));
  if (marks.get(name) === rulesDigest(chains)) return false;
  // A packet here and there may be lost while the routes are away: ranges and addresses of a network hardly ever change.
  const flush = [INNER, name].map((device) => `route flush dev ${device}`);
  await tools.run(ipBatch(flush, path));
  const flush6 = ipBatch(flush, path);
  await tools.run({ ...flush6, args: ['-6', ...flush6.args] });
  await tools.run(ipBatch(lines, path));
  await tools.run({
    tool: 'sysctl',
    args: ['-qe', '-w', 'net/ipv4/ip_forward=1', 'net/ipv6/conf/all/forwarding=1'],
    namespace: path,
  });
  // Last, with the mark: what failed before is done again.
  await tools.run(replaceTable(name, chains, path));
  return true;
}

function linesInside({ name, mtu, addresses, routes }: TunnelSpec, remap: Remap): string[] {
  const own = addresses.map((address) => {
    const [host = ''] = canonicalInterfaceAddress(moveRange(address, remap.network, remap.as)).split('/');
    return canonicalCidr(host);
  });
  return [
    'link set dev lo up',
    ...[name, INNER].map((device) => `link set dev ${device} mtu ${mtu}`),
    `link set dev ${INNER} arp off`,
    ...[name, INNER].map((device) => `link set dev ${device} up`),
    ...routes.map((route) => `route add ${canonicalCidr(route)} dev ${name}`),
    ...own.map((address) => `route add ${address} dev ${INNER}`),
  ];
}

function rulesInside(name: string, { network, as }: Remap): string {
  const [theirs, ours] = [canonicalCidr(network), canonicalCidr(as)];
  return `chain destinations {
  type nat hook prerouting priority -100; policy accept;
  iifname "${INNER}" dnat ip prefix to ip daddr map { ${ours} : ${theirs} }
  iifname "${name}" dnat ip prefix to ip daddr map { ${theirs} : ${ours} }
}
chain sources {
  type nat hook postrouting priority 100; policy accept;
  oifname "${name}" snat ip prefix to ip saddr map { ${ours} : ${theirs} }
  oifname "${INNER}" snat ip prefix to ip saddr map { ${theirs} : ${ours} }
}
chain passing {
  type filter hook forward priority 0; policy drop;
  iifname "${name}" oifname "${INNER}" accept
  iifname "${INNER}" oifname "${name}" accept
}`;
}

function checkRemap({ network, as }: Remap): void {
  const [theirs, ours] = [canonicalCidr(network), canonicalCidr(as)];
  if (isIpv6Range(theirs) || isIpv6Range(ours) || theirs.split('/')[1] !== ours.split('/')[1]) {
    const message = 'a network is remapped to a range of IPv4 of the same size';
    throw failure('TUNNEL_FAILED', message, { details: { network: theirs, as: ours } });
  }
}
