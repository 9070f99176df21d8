/** A zone as tests need one, and what it says, read back by dns-packet. */
import { decode, encode, type DecodedPacket } from 'dns-packet';
import { respond, type Transport } from '../../src/dns/responder.ts';
import type { ZoneView } from '../../src/dns/zone.ts';

export interface ZoneChanges {
  readonly addresses?: readonly string[];
  readonly texts?: ReadonlyMap<string, readonly string[]>;
  readonly challenges?: ReadonlyMap<string, readonly string[]>;
  readonly caa?: ZoneView['caa'];
}

export function zone(changes: ZoneChanges = {}): ZoneView {
  const challenges = changes.challenges ?? new Map<string, readonly string[]>();
  const addresses = changes.addresses ?? ['192.0.2.1', '2001:db8::1'];
  return {
    domain: 'apps.example.com',
    ns: ['ns1.apps.example.com', 'ns.elsewhere.example'],
    serial: () => 7,
    addresses: () => addresses,
    allAddresses: () => ['192.0.2.1', '192.0.2.2', '2001:db8::1'],
    texts: changes.texts ?? new Map(),
    challenges: (host) => challenges.get(host) ?? [],
    challenged: () => challenges.keys(),
    isForeignHost: (host) => host === 'www.shop.example',
    caa: changes.caa ?? (() => []),
  };
}

export interface Asked {
  readonly transport?: Transport;
  /** Size that EDNS offers; undefined = no EDNS. */
  readonly edns?: number;
  readonly flags?: number;
  readonly class?: string;
}

export function queryOf(name: string, type: string, { edns, flags = 0, class: klass = 'IN' }: Asked = {}): Buffer {
  const opt = { name: '.', type: 'OPT', udpPayloadSize: edns, flags: 0, options: [] };
  return encode({
    type: 'query',
    id: 4711,
    flags,
    questions: [{ name, type, class: klass } as never],
    additionals: edns === undefined ? [] : [opt as never],
  });
}

export function ask(view: ZoneView, name: string, type: string, asked: Asked = {}): DecodedPacket & { rcode: string } {
  const answer = respond(view, queryOf(name, type, asked), asked.transport ?? 'udp');
  if (answer === undefined) throw new Error('no answer');
  return decode(answer) as DecodedPacket & { rcode: string };
}

/** Type and data of each record. */
export function told(packet: DecodedPacket): string[] {
  return (packet.answers ?? []).map((record) => {
    const { data } = record as { data?: unknown };
    if (Array.isArray(data)) return `${record.type} ${Buffer.concat(data as Buffer[]).toString()}`;
    return `${record.type} ${typeof data === 'string' ? data : JSON.stringify(data)}`;
  });
}
