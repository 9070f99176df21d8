/**
 * The cable of one host or router, seen at the end that it does not have itself: what went up and down, how much is lost.
 * Counts bytes of whole packets from the IP header on, and leaves out how neighbours find each other.
 */
import type { Namespaces } from './namespaces.ts';

/** Packets between two sockets, in one direction. */
export interface Flow {
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  readonly packets: number;
  readonly bytes: number;
}

/** What passed a wire since it was laid: `up` is away from its owner. */
export interface Passed {
  readonly up: readonly Flow[];
  readonly down: readonly Flow[];
}

/** Pairs of sockets that a wire tells apart, each way and IP version; what comes later is not listed. */
const MAX_FLOWS = 1024;
/** Bytes of Ethernet's header, which a packet on its way down has already. */
const ETHERNET = 14;

export class Wire {
  /** Host or router whose only cable this is. */
  readonly owner: string;
  /** Router it leads to; null = the public segment. */
  readonly to: string | null;
  readonly #spaces: Namespaces;
  readonly #where: string;
  readonly #device: string;
  #gone: Passed | undefined;

  /** `device` is the far end, in the namespace `where`. */
  constructor(spaces: Namespaces, owner: string, to: string | null, where: string, device: string) {
    [this.#spaces, this.owner, this.to, this.#where, this.#device] = [spaces, owner, to, where, device];
    const set = (name: string, ip: string): string => `set ${name} {
      typeof ${ip} saddr . udp sport . ${ip} daddr . udp dport . meta l4proto
      flags dynamic
      size ${MAX_FLOWS}
      counter
    }`;
    const count = (name: string, ip: string): string =>
      `meta protocol ${ip} meta l4proto != { icmpv6, igmp } add @${name} { ${ip} saddr . th sport . ${ip} daddr . th dport . meta l4proto }`;
    const chains = (['up', 'down'] as const).map(
      (way) => `${set(`${way}4`, 'ip')}
      ${set(`${way}6`, 'ip6')}
      chain loss_${way} {
      }
      chain ${way} {
        type filter hook ${way === 'up' ? 'ingress' : 'egress'} device "${device}" priority 0; policy accept;
        jump loss_${way}
        ${count(`${way}4`, 'ip')}
        ${count(`${way}6`, 'ip6')}
      }`,
    );
    spaces.nft(where, `table netdev ${this.#table} {\n${chains.join('\n')}\n}\n`);
  }

  get #table(): string {
    return `wire_${this.#device.replaceAll('-', '_')}`;
  }

  /** Loses so many percent of what passes, in both directions; what is lost is not counted. */
  lose(percent: number): void {
    const rules = ['up', 'down'].map((way) => {
      const chain = `netdev ${this.#table} loss_${way}`;
      const drop = `add rule ${chain} numgen random mod 1000 < ${Math.round(percent * 10)} drop`;
      return `flush chain ${chain}\n${percent > 0 ? drop : ''}\n`;
    });
    this.#spaces.nft(this.#where, rules.join(''));
  }

  /** Cuts or mends it. */
  set(up: boolean): void {
    this.#spaces.ip(this.#where, [`link set ${this.#device} ${up ? 'up' : 'down'}`]);
  }

  /** Takes it away; what passed stays known. */
  remove(): void {
    this.#gone = this.passed();
    this.#spaces.nft(this.#where, `delete table netdev ${this.#table}\n`);
    this.#spaces.ip(this.#where, [`link del ${this.#device}`]);
  }

  passed(): Passed {
    if (this.#gone !== undefined) return this.#gone;
    const listed = this.#spaces.nftJson(this.#where, 'list', 'table', 'netdev', this.#table) as {
      readonly nftables: readonly { readonly set?: { readonly name: string; readonly elem?: readonly Element[] } }[];
    };
    const flows = (way: string): Flow[] =>
      listed.nftables
        .flatMap(({ set }) => (set?.name.startsWith(way) === true ? (set.elem ?? []) : []))
        .map((element) => flowOf(element, way === 'down' ? ETHERNET : 0))
        .toSorted((a, b) => b.packets - a.packets);
    return { up: flows('up'), down: flows('down') };
  }

  /** Packets and bytes in both directions that `matches` accepts. */
  count(matches: (flow: Flow) => boolean = () => true): { readonly packets: number; readonly bytes: number } {
    const { up, down } = this.passed();
    const chosen = [...up, ...down].filter(matches);
    const sum = (key: 'packets' | 'bytes'): number => chosen.reduce((total, flow) => total + flow[key], 0);
    return { packets: sum('packets'), bytes: sum('bytes') };
  }
}

interface Element {
  readonly elem: {
    readonly val: { readonly concat: readonly (string | number)[] };
    readonly counter?: { readonly packets: number; readonly bytes: number };
  };
}

function flowOf({ elem }: Element, header: number): Flow {
  const [fromIp = '', fromPort = '', toIp = '', toPort = '', protocol = ''] = elem.val.concat.map(String);
  const { packets = 0, bytes = 0 } = elem.counter ?? {};
  const socket = (ip: string, port: string): string =>
    protocol === 'tcp' || protocol === 'udp' ? `${ip.includes(':') ? `[${ip}]` : ip}:${port}` : ip;
  return {
    from: socket(fromIp, fromPort),
    to: socket(toIp, toPort),
    protocol,
    packets,
    bytes: bytes - packets * header,
  };
}
