/**
 * One member's machine with its packet rules, and a wire in place of the tunnel: to the rules only the interface's name
 * matters. Other members' addresses stand at the far end; beyond another interface lie a LAN and "the internet".
 */
import { buildView, type Contract } from '@moat/contract';
import { planeOf, type PlaneLayout } from '@moat/network';
import { Namespaces } from './namespaces.ts';
import { PacketProbe } from './packet-probe.ts';

/** In the LAN of the machine. */
export const LAN_HOST = '192.168.50.2';
export const LAN_SELF = '192.168.50.1';
/** A public address. */
export const INTERNET = '9.9.9.9';

export class PolicyWorld implements Disposable {
  readonly #spaces = new Namespaces();
  readonly #self: string;
  readonly #exposed = new Set<string>();
  layout: PlaneLayout | undefined;
  /** Networks that the machine stands in, as it knows them. */
  nearby: readonly string[] = [];
  /** On the member's machine, at the far end of the tunnel, and on LAN and internet. */
  readonly probes: Readonly<Record<'self' | 'peers' | 'devices' | 'out', PacketProbe>>;

  private constructor(self: string, spaces: Namespaces, probes: PolicyWorld['probes']) {
    this.#self = self;
    this.#spaces = spaces;
    this.probes = probes;
  }

  static async make(contract: Contract, self: string, now: number): Promise<PolicyWorld> {
    const spaces = new Namespaces();
    spaces.add('self', 'peers', 'devices', 'out');
    const probes = {
      self: await PacketProbe.start(spaces.full('self')),
      peers: await PacketProbe.start(spaces.full('peers')),
      devices: await PacketProbe.start(spaces.full('devices')),
      out: await PacketProbe.start(spaces.full('out')),
    };
    const world = new PolicyWorld(self, spaces, probes);
    const layout = world.#layoutOf(contract, now);
    spaces.cable(['self', layout.name], ['peers', 'tunnel']);
    spaces.cable(['self', 'lan'], ['out', 'lan']);
    spaces.ip('out', [`addr add ${LAN_HOST}/24 dev lan`, `addr add ${INTERNET}/32 dev lan`]);
    spaces.ip('self', [
      `addr add ${LAN_SELF}/24 dev lan`,
      `route add default via ${LAN_HOST}`,
      `link set ${layout.name} address 02:00:00:00:00:01`,
      ...layout.addresses.map((address) => `addr add ${address} dev ${layout.name}`),
      ...layout.routes.map((route) => `route add ${route} dev ${layout.name}`),
    ]);
    const settings = ['all', 'default', layout.name].map((name) => `net.ipv4.conf.${name}.rp_filter=0`);
    spaces.sysctl('self', [...settings, `net.ipv4.conf.${layout.name}.route_localnet=1`, 'net.ipv4.ip_forward=1']);
    spaces.sysctl('peers', ['net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.tunnel.route_localnet=1']);
    const [own4 = '', own6 = ''] = layout.addresses.map((address) => address.split('/')[0] ?? '');
    spaces.ip('peers', [
      'link set tunnel address 02:00:00:00:00:02',
      `route add ${own4} dev tunnel`,
      `route add ${own6} dev tunnel`,
      // All else that a hostile peer may send this way.
      `route add default via ${own4} dev tunnel onlink`,
      `route add default via ${own6} dev tunnel`,
      'route del local 127.0.0.0/8 dev lo table local',
      'route del local 127.0.0.1 dev lo table local',
      `route add 127.0.0.0/8 via ${own4} dev tunnel onlink`,
      `neigh add ${own4} lladdr 02:00:00:00:00:01 dev tunnel`,
      `neigh add ${own6} lladdr 02:00:00:00:00:01 dev tunnel`,
    ]);
    return world;
  }

  expose(...targets: readonly string[]): void {
    for (const target of targets) this.#exposed.add(target);
  }

  conceal(target: string): void {
    this.#exposed.delete(target);
  }

  isExposed(target: string): boolean {
    return this.#exposed.has(target);
  }

  /** These addresses answer at the far end. */
  addPeers(addresses: readonly string[]): void {
    const { name = '' } = this.layout ?? {};
    const isIpv6 = (address: string): boolean => address.includes(':');
    this.#spaces.ip(
      'peers',
      addresses.map((address) => `addr add ${address}/${isIpv6(address) ? '128 nodad' : '32'} dev tunnel`),
    );
    this.#spaces.ip(
      'self',
      addresses.map((address) => `neigh replace ${address} lladdr 02:00:00:00:00:02 dev ${name}`),
    );
  }

  /** Theirs answer beyond it: what they send to members goes by the tunnel, as what those send to them. */
  addDevices(addresses: readonly string[]): void {
    const { name = '', addresses: [own = ''] = [] } = this.layout ?? {};
    this.#spaces.cable(['peers', 'air'], ['devices', 'air']);
    this.#spaces.ip('devices', [
      'link set air address 02:00:00:00:00:03',
      ...addresses.map((address) => `addr add ${address}/32 dev air`),
      'route add default via 10.77.255.1 dev air onlink',
      'neigh add 10.77.255.1 lladdr 02:00:00:00:00:04 dev air',
    ]);
    this.#spaces.sysctl('peers', [
      'net.ipv4.ip_forward=1',
      'net.ipv4.conf.air.proxy_arp=1',
      'net.ipv4.conf.air.rp_filter=0',
      'net.ipv4.ip_early_demux=0',
    ]);
    this.#spaces.ip('peers', [
      'link set air address 02:00:00:00:00:04',
      ...addresses.map((address) => `neigh add ${address} lladdr 02:00:00:00:00:03 dev air`),
      ...addresses.map((address) => `route add ${address} dev air table 101`),
      'rule add pref 10 lookup local',
      'rule add pref 4 iif tunnel lookup 101',
      'rule add pref 5 iif air lookup 100',
      'rule del pref 0',
      `route add default via ${own.split('/', 1)[0]} dev tunnel onlink table 100`,
    ]);
    const neighbours = addresses.map((address) => `neigh replace ${address} lladdr 02:00:00:00:00:02 dev ${name}`);
    this.#spaces.ip('self', neighbours);
  }

  apply(contract: Contract, now: number): PlaneLayout {
    const layout = this.#layoutOf(contract, now);
    const table = `table inet ${layout.name}`;
    this.#spaces.nft('self', `${table}\ndelete ${table}\n${table} {\n${layout.rules.chains}}\n`);
    return layout;
  }

  /** Runs a program: true when it ended well. */
  run(where: keyof PolicyWorld['probes'], file: string, ...args: readonly string[]): boolean {
    try {
      this.#spaces.read(where, file, ...args);
      return true;
    } catch {
      return false;
    }
  }

  [Symbol.dispose](): void {
    this.#spaces[Symbol.dispose]();
  }

  #layoutOf(contract: Contract, now: number): PlaneLayout {
    const exposed = { isExposed: (target: string) => this.#exposed.has(target), isOwnSocket: () => false };
    const layout = planeOf(buildView(contract, [], now), this.#self, { exposed, now, nearby: this.nearby });
    if (layout === null) throw new Error(`${this.#self} has no plane`);
    this.layout = layout;
    return layout;
  }
}
