/**
 * A small reader of the packet rules that `nftChains` prints, and a kernel that asks them about the first packet of a
 * connection and about the answer to it. It knows only what is printed, so that a slip in a rule shows.
 */
export interface Connection {
  readonly from: string;
  readonly to: string;
  readonly transport: 'tcp' | 'udp' | 'icmp';
  readonly port: number;
  /** The interface it comes in by, and the one it would leave by if it is not for this machine. */
  readonly iif: string;
  readonly oif: string;
}

/** `here host:port`, `beyond host:port`, or by whom it was dropped. */
export type Fate = string;

interface Packet {
  readonly iif: string;
  readonly oif: string;
  readonly from: string;
  readonly to: string;
  readonly transport: Connection['transport'];
  readonly port: number;
  readonly icmp?: string;
  readonly ct: {
    readonly direction: 'original' | 'reply';
    readonly original: { readonly from: string; readonly to: string; readonly port: number };
    readonly reply: { readonly from: string; readonly port: number };
    readonly dnat: boolean;
  };
}

interface Verdict {
  readonly kind: 'accept' | 'drop' | 'continue';
  readonly dnat?: string;
}

const GO_ON: Verdict = { kind: 'continue' };

export class NftModel {
  readonly #sets = new Map<string, ReadonlySet<string>>();
  readonly #maps = new Map<string, ReadonlyMap<string, string>>();
  readonly #chains = new Map<string, readonly string[]>();
  readonly own: readonly string[];

  /** Milliseconds since 1970; the kernel's clock. */
  nowMs: number;

  /** @param own addresses of the machine besides loopback. */
  constructor(text: string, own: readonly string[], nowMs: number) {
    this.own = own;
    this.nowMs = nowMs;
    for (const [, kind, name = '', body = ''] of text.matchAll(/^(set|map|chain) (\w+) \{\n((?:\t.*\n)*)\}$/gm)) {
      const lines = body.split('\n').map((line) => line.trim());
      const elements = /elements = \{ (.*) \}/.exec(body)?.[1]?.split(', ') ?? [];
      if (kind === 'set') this.#sets.set(name, new Set(elements));
      else if (kind === 'map') {
        this.#maps.set(name, new Map(elements.map((each) => each.split(' : ') as [string, string])));
      } else
        this.#chains.set(
          name,
          lines.filter((line) => line !== '' && !/^(?:type|policy|#)/.test(line)),
        );
    }
  }

  /** What becomes of a connection's first packet, and whether an answer would come back. */
  fate({ from, to, transport, port, iif, oif }: Connection): Fate {
    const original = { from, to, port };
    const icmp = transport === 'icmp' ? { icmp: 'echo-request' } : {};
    const untouched = { direction: 'original', original, reply: { from: to, port }, dnat: false } as const;
    const first: Packet = { iif, oif: '', from, to, transport, port, ...icmp, ct: untouched };
    if (this.#run('early', first).kind === 'drop') return 'dropped early';
    const sent = this.#chains.has('arrive') ? this.#run('arrive', first).dnat : undefined;
    const [host, at] = sent === undefined ? [to, port] : splitTarget(sent);
    const isHere = host.startsWith('127.') || host === '::1' || this.own.includes(host);
    const reply = { from: host, port: at };
    const ct = { ...untouched, reply, dnat: sent !== undefined };
    const judged = { ...first, to: host, port: at, oif: isHere ? '' : oif, ct };
    const verdict = this.#run(isHere ? 'incoming' : 'passing', judged);
    if (verdict.kind === 'drop') return isHere ? 'dropped here' : 'dropped passing';
    const back: Packet = {
      ...judged,
      ...(transport === 'icmp' ? { icmp: 'echo-reply' } : {}),
      iif: isHere ? '' : oif,
      oif: iif,
      from: host,
      to: from,
      ct: { ...ct, direction: 'reply' },
    };
    if (this.#run(isHere ? 'outgoing' : 'passing', back).kind === 'drop') return 'answer dropped';
    return `${isHere ? 'here' : 'beyond'} ${host} ${at}`;
  }

  /** What becomes of a connection that a program here opens, and of the answer. */
  outwards({ from, to, transport, port, iif }: Omit<Connection, 'oif'>): boolean {
    const original = { from, to, port };
    const ct = { direction: 'original', original, reply: { from: to, port }, dnat: false } as const;
    const icmp = transport === 'icmp' ? { icmp: 'echo-request' } : {};
    const first: Packet = { iif: '', oif: iif, from, to, transport, port, ...icmp, ct };
    if (this.#run('outgoing', first).kind === 'drop') return false;
    const answer: Packet = {
      ...first,
      ...(transport === 'icmp' ? { icmp: 'echo-reply' } : {}),
      iif,
      oif: '',
      from: to,
      to: from,
      ct: { ...ct, direction: 'reply' },
    };
    return this.#run('early', answer).kind !== 'drop' && this.#run('incoming', answer).kind !== 'drop';
  }

  #run(chain: string, packet: Packet): Verdict {
    for (const rule of this.#chains.get(chain) ?? []) {
      const verdict = this.#rule(rule, packet);
      if (verdict.kind !== 'continue' || verdict.dnat !== undefined) return verdict;
    }
    return GO_ON;
  }

  #rule(rule: string, packet: Packet): Verdict {
    let rest = rule;
    while (rest !== '') {
      const statement = STATEMENTS.find(([pattern]) => pattern.test(rest));
      if (statement === undefined) throw new Error(`not understood: ${rest} of ${rule}`);
      const [pattern, judge] = statement;
      const match = pattern.exec(rest) as RegExpExecArray;
      rest = rest.slice(match[0].length).trimStart();
      const result = judge(packet, match, this);
      if (result === false) return GO_ON;
      if (result === true) continue;
      if (typeof result === 'object') return result;
      const jumped = this.#run(result, packet);
      if (jumped.kind !== 'continue') return jumped;
    }
    return GO_ON;
  }

  /** True when `value` is the address, range, interface or member of the set that `text` names. */
  holds(text: string, value: string): boolean {
    if (text.startsWith('@')) return [...(this.#sets.get(text.slice(1)) ?? [])].some((each) => isWithin(each, value));
    if (text.startsWith('{'))
      return text
        .slice(2, -2)
        .split(', ')
        .some((each) => this.holds(each, value));
    if (text.startsWith('"')) {
      const name = text.slice(1, -1);
      return name.endsWith('*') ? value.startsWith(name.slice(0, -1)) : value === name;
    }
    return isWithin(text, value);
  }

  look(map: string, key: string): string | undefined {
    return this.#maps.get(map)?.get(key);
  }
}

type Judge = (packet: Packet, match: RegExpExecArray, model: NftModel) => boolean | Verdict | string;

const NAMED = String.raw`(!= )?(\{[^}]*\}|\S+)`;
const is6 = (address: string): boolean => address.includes(':');
const compare = (model: NftModel, [, not, text = '']: readonly (string | undefined)[], value: string): boolean =>
  model.holds(text, value) === (not === undefined);
const ofFamily = (family: string | undefined, address: string): boolean => is6(address) === (family === 'ip6');

const STATEMENTS: readonly (readonly [RegExp, Judge])[] = [
  [new RegExp(`^iifname ${NAMED}`), ({ iif }, match, model) => compare(model, match, iif)],
  [new RegExp(`^oifname ${NAMED}`), ({ oif }, match, model) => compare(model, match, oif)],
  [
    new RegExp(`^(ip6?) (saddr|daddr) ${NAMED}`),
    ({ from, to }, [, family, side, ...rest], model) => {
      const address = side === 'saddr' ? from : to;
      return ofFamily(family, address) && compare(model, ['', ...rest], address);
    },
  ],
  [
    new RegExp(`^ct original (ip6?) (saddr|daddr) ${NAMED}`),
    ({ ct: { original } }, [, family, side, ...rest], model) => {
      const address = side === 'saddr' ? original.from : original.to;
      return ofFamily(family, address) && compare(model, ['', ...rest], address);
    },
  ],
  [
    /^ct original proto-dst \. ct reply (ip6?) saddr \. ct reply proto-src vmap @(\w+)/,
    ({ ct: { original, reply } }, [, family, map = ''], model) => {
      if (!ofFamily(family, reply.from)) return false;
      return jumpOf(model.look(map, `${original.port} . ${reply.from} . ${reply.port}`));
    },
  ],
  [
    /^ct original proto-dst vmap @(\w+)/,
    ({ ct: { original } }, [, map = ''], model) => jumpOf(model.look(map, String(original.port))),
  ],
  [/^ct direction (\w+)/, ({ ct }, [, direction]) => ct.direction === direction],
  [/^ct state (?:invalid|related)/, () => false],
  [/^meta l4proto (tcp|udp)/, ({ transport }, [, wanted]) => transport === wanted],
  [/^meta nfproto (ipv4|ipv6)/, ({ from }, [, family]) => is6(from) === (family === 'ipv6')],
  [
    /^(icmp|icmpv6) type (\{[^}]*\}|\S+)/,
    ({ icmp, from }, [, kind, types = '']) =>
      icmp !== undefined && is6(from) === (kind === 'icmpv6') && types.split(/[{}, ]+/).includes(icmp),
  ],
  // Servers of this model listen on their targets alone; packets carry neither options nor headers, nor are they cut.
  [/^udp dport \{[^}]*\} socket wildcard 1 accept$/, () => false],
  [/^(?:ip hdrlength 5|ip6 nexthdr \{[^}]*\})/, () => true],
  [/^(?:ip hdrlength > 5|exthdr \w+ exists)/, () => false],
  [
    /^fib daddr type \{ local, \w+, multicast \}/,
    ({ to }, _, model) => to.startsWith('127.') || to === '::1' || model.own.includes(to),
  ],
  [/^tcp flags .*$/, () => true],
  [
    /^dnat (ip6?) to meta l4proto \. th dport map @(\w+)/,
    ({ transport, port }, [, , map = ''], model) => {
      const dnat = model.look(map, `${transport} . ${port}`);
      return dnat === undefined ? false : { kind: 'continue', dnat };
    },
  ],
  [/^meta time < (\d+)/, (_, [, seconds], model) => model.nowMs < Number(seconds) * 1000],
  [/^counter/, () => true],
  [/^jump (\w+)/, (_, [, chain = '']) => chain],
  [/^accept/, () => ({ kind: 'accept' })],
  [/^(?:drop|reject with icmpx type admin-prohibited)/, () => ({ kind: 'drop' })],
];

function jumpOf(verdict: string | undefined): boolean | string {
  return verdict === undefined ? false : verdict.replace('jump ', '');
}

function splitTarget(target: string): [string, number] {
  const [host = '', port] = target.split(' . ');
  return [host, Number(port)];
}

function isWithin(range: string, address: string): boolean {
  const [base = '', length] = range.split('/');
  if (length === undefined) return range === address;
  if (is6(base) !== is6(address)) return false;
  const [bits, width] = is6(base) ? [bitsOf6, 128n] : [bitsOf4, 32n];
  const shift = width - BigInt(length);
  return bits(base) >> shift === bits(address) >> shift;
}

function bitsOf4(address: string): bigint {
  return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n);
}

function bitsOf6(address: string): bigint {
  const [head = '', tail] = address.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const [left, right] = [groups(head), groups(tail ?? '')];
  const all =
    tail === undefined ? left : [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return all.reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n);
}
