/**
 * The lookups of one member's packet rules: from a service's port to the chain that says who may reach it, and to its
 * target. Only maps that lead somewhere are made, and rules speak of no others.
 */
import { holder } from './nft-sets.ts';
import type { CarriedPort, PlanePolicy, ServedPort, Transport } from './policy.ts';

export class PortMaps {
  readonly #elements = new Map<string, readonly string[]>();
  readonly #types = new Map<string, string>();

  /** @param carried one list a port; their order, like that of the policy's ports, numbers the chains. */
  constructor({ own, served, reached }: PlanePolicy, carried: readonly (readonly CarriedPort[])[]) {
    for (const transport of ['tcp', 'udp'] as const) {
      for (const family of [4, 6] as const) {
        const ends = served.flatMap((each, i) =>
          each.transport === transport && familyOf(each) === family ? endsOf(each, own.ipv4, `jump serve_${i}`) : [],
        );
        this.#add(`serve_${transport}${family}`, `inet_service . ipv${family}_addr . inet_service : verdict`, ends);
      }
      this.#add(`reach_${transport}`, 'inet_service : verdict', jumps(reached, transport, 'reach'));
      const ports = carried.map(([first]) => first);
      this.#add(`carry_${transport}`, 'inet_service : verdict', jumps(ports, transport, 'carry'));
    }
    for (const family of [4, 6] as const) {
      const type = `inet_proto . inet_service : ipv${family}_addr . inet_service`;
      const here = served.filter((each) => familyOf(each) === family);
      this.#add(`targets${family}`, type, here.map(sentOn));
      this.#add(`own_targets${family}`, type, here.filter(({ self }) => self).map(sentOn));
    }
  }

  definitions(): string[] {
    return [...this.#elements].map(([name, elements]) => holder(`map ${name}`, this.#types.get(name) ?? '', elements));
  }

  /** The rule, unless its map is empty. `MAP` in it stands for the map. */
  rule(name: string, rule: string): string[] {
    return this.#elements.has(name) ? [rule.replace('MAP', `@${name}`)] : [];
  }

  #add(name: string, type: string, elements: readonly string[]): void {
    if (elements.length === 0) return;
    this.#elements.set(name, elements);
    this.#types.set(name, type);
  }
}

/** A UDP service at loopback with one port inside and out: its server may listen on all addresses. */
export function isWildcardToo({ transport, port, target }: ServedPort): boolean {
  return transport === 'udp' && port === target.port && target.host.startsWith('127.');
}

/** Where connections to the port may end: at its target, else, for a server on all addresses, where they came. */
function endsOf(each: ServedPort, own: string, verdict: string): string[] {
  const { port, target } = each;
  const ends = [target, ...(isWildcardToo(each) ? [{ host: own, port }] : [])];
  return ends.map((end) => `${port} . ${end.host} . ${end.port} : ${verdict}`);
}

function sentOn({ transport, port, target }: ServedPort): string {
  return `${transport} . ${port} : ${target.host} . ${target.port}`;
}

function jumps(
  ports: readonly ({ readonly transport: Transport; readonly port: number } | undefined)[],
  transport: Transport,
  chain: string,
): string[] {
  return ports.flatMap((each, i) => (each?.transport === transport ? [`${each.port} : jump ${chain}_${i}`] : []));
}

function familyOf({ target }: ServedPort): 4 | 6 {
  return target.host.includes(':') ? 6 : 4;
}
