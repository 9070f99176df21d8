/**
 * A small internet of network namespaces: one public segment (203.0.113.0/24, and 2001:db8::/64 for those who ask),
 * routers of every kind that people stand behind, and hosts. Root only; everything goes with it.
 *
 *     using internet = new Internet();
 *     internet.addHost('hub', { address: 1 });
 *     internet.addHost('app', { nat: 'eim' });
 *     internet.addRouter('cafe', { kind: 'edm' });
 *     internet.roam('app', 'cafe');
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Capture } from './capture.ts';
import { Namespaces } from './namespaces.ts';
import { routerRules, routerSettings, type MappingSeconds, type NatKind, type RouterKind } from './nat.ts';
import { pictureOf, type Picture } from './picture.ts';
import { OPENER_NET, openPorts, openedPorts, type OpensPorts } from './port-opener.ts';
import { Wire } from './wire.ts';

export { labSkip } from './namespaces.ts';

export interface RouterSpec {
  readonly kind: RouterKind;
  /** Its public address is 203.0.113.`address`. @defaultValue a free one */
  readonly address?: number;
  /** Another router that it stands behind, as a home behind its carrier's. */
  readonly behind?: string;
  /** The net behind it is one of RFC 6598, as a carrier's. @defaultValue false: one of a home */
  readonly carrier?: boolean;
  /** When it forgets mappings for UDP. @defaultValue as Linux does, or as its kind says */
  readonly forgets?: MappingSeconds;
  /** It opens ports for those behind it who ask, and has an address of {@link OPENER_NET} outside. @defaultValue it does not */
  readonly opens?: OpensPorts | undefined;
}

export interface HostSpec {
  /** The way it reaches the internet, with routers of its own. @defaultValue 'open' */
  readonly nat?: NatKind;
  /** A router that it shares with others, instead. */
  readonly behind?: string;
  /** Public address of the host or its outermost router is 203.0.113.`address`. @defaultValue a free one */
  readonly address?: number;
  /** An open host has 2001:db8::`address` too. @defaultValue false */
  readonly ipv6?: boolean;
  /** Its own router opens ports on request. */
  readonly opens?: OpensPorts;
}

interface Router {
  readonly kind: RouterKind;
  readonly behind: string | null;
  /** The first three numbers of the net behind it, and its prefix where it is one of IPv6. */
  readonly net: string;
  readonly net6: string;
  hosts: number;
}

/** Milliseconds for which rules must stay away, and until then. */
const [DISARMED_MS, DISARM_MS] = [400, 10_000];
const PUBLIC = '203.0.113';
const PUBLIC6 = '2001:db8::';

export class Internet implements Disposable {
  readonly #spaces = new Namespaces();
  readonly #routers = new Map<string, Router>();
  readonly #wires = new Map<string, Wire>();
  readonly #old: Wire[] = [];
  readonly #captures: Capture[] = [];
  #nets = 0;
  #nextAddress = 100;

  constructor() {
    this.#spaces.add('inet');
    this.#spaces.sysctl('inet', ['net.ipv6.conf.all.forwarding=1']);
    this.#spaces.ip('inet', [
      'link add name br0 type bridge',
      'link set br0 up',
      `addr add ${PUBLIC6}ffff/64 dev br0 nodad`,
    ]);
  }

  /** Full name of a host's or router's namespace, for `ip netns exec`. */
  namespace(name: string): string {
    return this.#spaces.full(name);
  }

  /** A host, and the routers that its kind of NAT needs; returns its own address. */
  addHost(name: string, { nat = 'open', behind, address, ipv6 = false, opens }: HostSpec = {}): string {
    this.#spaces.add(name);
    if (behind !== undefined) return this.#lease(name, behind);
    if (nat === 'open') return this.#plug(name, address, ipv6);
    const outer = address === undefined ? {} : { address };
    if (nat === 'double') {
      this.addRouter(`${name}-c`, { kind: 'eim', carrier: true, ...outer });
      this.addRouter(`${name}-r`, { kind: 'eim', behind: `${name}-c` });
    } else {
      this.addRouter(`${name}-r`, { kind: nat, opens, ...outer });
    }
    return this.#lease(name, `${name}-r`);
  }

  /** A host that only `owner` reaches, over a cable of their own: a LAN at its machine. */
  addNeighbour(owner: string, name: string, { own, host }: { readonly own: string; readonly host: string }): void {
    this.#spaces.add(name);
    this.#spaces.cable([owner, `l-${name}`], [name, 'eth0']);
    this.#spaces.ip(owner, [`addr add ${own}/24 dev l-${name}`]);
    this.#spaces.ip(name, [`addr add ${host}/24 dev eth0`, `route add default via ${own}`]);
  }

  /** A router for several hosts, or to roam to. */
  addRouter(name: string, { kind, address, behind, carrier = false, forgets, opens }: RouterSpec): void {
    this.#spaces.add(name);
    this.#nets += 1;
    const net = carrier ? `100.64.${this.#nets}` : `192.168.${this.#nets}`;
    const net6 = `2001:db8:${this.#nets}::`;
    const isIpv6 = kind === 'ipv6';
    this.#routers.set(name, { kind, behind: behind ?? null, net, net6, hosts: 1 });
    this.#spaces.sysctl(name, routerSettings(kind, forgets));
    this.#spaces.ip(name, [
      'link add name lan type bridge',
      'link set lan up',
      `addr add ${isIpv6 ? `${net6}1/64` : `${net}.1/24`} dev lan${isIpv6 ? ' nodad' : ''}`,
    ]);
    if (behind !== undefined) this.#lease(name, behind, 'wan');
    else if (isIpv6) this.#plugPrefix(name, net6, address);
    else this.#plug(name, address, false);
    this.#spaces.nft(name, routerRules(kind, `${net}.2`));
    if (opens !== undefined) openPorts(this.#spaces, name, this.#nets, opens, kind === 'edm');
  }

  /** Moves a host to another router (`public`: to the open internet), under whatever runs; returns its new address. */
  roam(name: string, to: string): string {
    const wire = this.#wire(name);
    wire.remove();
    this.#old.push(wire);
    return to === 'public' ? this.#plug(name, undefined, false) : this.#lease(name, to);
  }

  /** Gives a public host, or the outermost router of a home, another address, as a new lease would. */
  renumber(name: string, last: number): void {
    const owner = this.#outermost(name);
    this.#spaces.ip(owner, [`addr flush dev wan to ${PUBLIC}.0/24`, `addr add ${PUBLIC}.${last}/24 dev wan`]);
    if (owner === name) this.joinMulticast(name);
  }

  /** One more address for a public host; those it has stay. */
  addAddress(name: string, last: number): void {
    this.#spaces.ip(name, [`addr add ${PUBLIC}.${last}/24 dev wan`]);
  }

  /** Multicast leaves by the segment, as it does where there is a default route. */
  joinMulticast(name: string): void {
    this.#spaces.ip(name, ['route replace 224.0.0.0/4 dev wan']);
  }

  /** Cuts or mends the line of a home or public host; of one that shares a router its own cable. */
  setLine(name: string, up: boolean): void {
    this.line(name).set(up);
  }

  /** Loses so many percent of the packets on that line, each way. */
  loss(name: string, percent: number): void {
    this.line(name).lose(percent);
  }

  /** Where a home or public host meets the internet: its outermost router's wire, or its own. */
  line(name: string): Wire {
    return this.#wire(this.#outermost(name));
  }

  /** The host's own wire, before any router. */
  wire(name: string): Wire {
    return this.#wire(name);
  }

  /** Commands of `ip` in a namespace. */
  ip(name: string, commands: readonly string[]): void {
    this.#spaces.ip(name, commands);
  }

  /** Runs a program in a namespace and returns what it wrote. */
  read(name: string, file: string, ...args: readonly string[]): string {
    return this.#spaces.read(name, file, ...args);
  }

  /** Takes the packet rules of a host away, and what would put them back: the host is hostile from now on. */
  async disarm(name: string): Promise<void> {
    const isBare = (): boolean => this.read(name, 'nft', 'list', 'ruleset').trim() === '';
    const end = performance.now() + DISARM_MS;
    for (let since = performance.now(); performance.now() - since < DISARMED_MS; await delay(50)) {
      if (isBare()) continue;
      if (performance.now() > end) throw new Error(`rules of ${name} come back`);
      since = performance.now();
      this.#spaces.kill(name, 'nft');
      this.read(name, 'nft', 'flush', 'ruleset');
    }
  }

  /** Notes what passes in a namespace from now on, by a filter of tcpdump's. */
  async capture(name: string, filter: string): Promise<Capture> {
    const capture = await Capture.start(this.namespace(name), filter);
    this.#captures.push(capture);
    return capture;
  }

  /** The router of a home passes these TCP ports on to it from now on. */
  forward(name: string, ports: readonly number[]): void {
    const { net = '' } = this.#routers.get(`${name}-r`) ?? {};
    const list = ports.join(', ');
    this.#spaces.nft(
      `${name}-r`,
      `flush chain inet filt direct
      add rule inet filt direct ct status dnat accept
      flush chain inet filt prer
      add rule inet filt prer iifname "wan" tcp dport { ${list} } dnat ip to ${net}.2
`,
    );
  }

  /** By which rules the router of a home lets in whom it was asked to. */
  opened(name: string): string {
    return openedPorts(this.#spaces, `${name}-r`);
  }

  /** What came over these ports goes nowhere any more, without a word to either side; new connections neither. */
  swallow(name: string, ports: readonly number[]): void {
    const list = ports.join(', ');
    this.#spaces.nft(
      `${name}-r`,
      `flush chain inet filt prer
      flush chain inet filt direct
      add rule inet filt direct ct status dnat tcp dport { ${list} } drop
      add rule inet filt direct ct status dnat tcp sport { ${list} } drop
`,
    );
  }

  /** Who stands where, and what passed each wire. */
  picture(): Picture {
    const kinds = new Map([...this.#routers].map(([name, { kind }]) => [name, kind]));
    return pictureOf(kinds, [...this.#old, ...this.#wires.values()]);
  }

  [Symbol.dispose](): void {
    for (const capture of this.#captures) capture.end();
    this.#spaces[Symbol.dispose]();
  }

  #outermost(name: string): string {
    return [`${name}-c`, `${name}-r`].find((router) => this.#routers.has(router)) ?? name;
  }

  #wire(name: string): Wire {
    const wire = this.#wires.get(name);
    if (wire === undefined) throw new Error(`no host or router ${name}`);
    return wire;
  }

  /** A cable to the public segment, with an address there. */
  #plug(name: string, address: number | undefined, ipv6: boolean): string {
    const last = address ?? this.#nextAddress++;
    this.#lay(name, 'wan', null);
    this.#spaces.ip(name, [
      `addr add ${PUBLIC}.${last}/24 dev wan`,
      `route add ${OPENER_NET}.0/24 dev wan`,
      ...(ipv6 ? this.#publicIpv6(last) : []),
    ]);
    return `${PUBLIC}.${last}`;
  }

  #plugPrefix(router: string, net6: string, address: number | undefined): void {
    const last = address ?? this.#nextAddress++;
    this.#lay(router, 'wan', null);
    this.#spaces.ip(router, this.#publicIpv6(last));
    this.#spaces.ip('inet', [`route add ${net6}/64 via ${PUBLIC6}${last}`]);
  }

  #publicIpv6(last: number): readonly string[] {
    return [`addr add ${PUBLIC6}${last}/64 dev wan nodad`, `route add default via ${PUBLIC6}ffff`];
  }

  /** A cable to a router, with an address of its net. */
  #lease(name: string, router: string, device = 'eth0'): string {
    const at = this.#routers.get(router);
    if (at === undefined) throw new Error(`no router ${router}`);
    at.hosts += 1;
    this.#lay(name, device, router);
    const [address, gateway, rest] =
      at.kind === 'ipv6'
        ? [`${at.net6}${at.hosts}`, `${at.net6}1`, '/64 nodad']
        : [`${at.net}.${at.hosts}`, `${at.net}.1`, '/24'];
    const [length, ...flags] = rest.split(' ');
    this.#spaces.ip(name, [
      `addr add ${address}${length} dev ${device} ${flags.join(' ')}`,
      `route add default via ${gateway}`,
    ]);
    return address;
  }

  #lay(owner: string, device: string, to: string | null): void {
    const [where, bridge] = to === null ? ['inet', 'br0'] : [to, 'lan'];
    const far = `p-${owner}`;
    this.#spaces.cable([where, far], [owner, device]);
    this.#spaces.ip(where, [`link set ${far} master ${bridge}`]);
    this.#wires.set(owner, new Wire(this.#spaces, owner, to, where, far));
  }
}
