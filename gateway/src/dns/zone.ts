/**
 * What this gateway's name servers say: its domain, and `_acme-challenge` of hosts that others delegated to it. Pure.
 *
 * Every name of one label below the domain has the gateway's addresses, held or not: a name works the moment it is
 * published, with nothing that resolvers remember against it. Deeper names do not exist, since no gateway serves them.
 * An absent name is NXDOMAIN, a present one without the type is NODATA, both with the SOA (RFC 2308 §2); a name that has
 * others below it is present (RFC 8020).
 */
import { isLabel } from '@moat/core';
import type { Answer } from 'dns-packet';
import type { CaaRecord } from './caa.ts';

/** What the zone is made of, asked for each question. Names are lower case, without the final dot. */
export interface ZoneView {
  readonly domain: string;
  /** Name servers; those below the domain have every address. At least one. */
  readonly ns: readonly string[];
  /** Counts up with each change. */
  serial(): number;
  /** Where clients are to go now; never empty. */
  addresses(): readonly string[];
  /** All gateways' addresses, whatever is known of them. */
  allAddresses(): readonly string[];
  /** What the operator wants said, by name. */
  readonly texts: ReadonlyMap<string, readonly string[]>;
  /** Values for `dns-01` of `host`. */
  challenges(host: string): readonly string[];
  /** Hosts that have some. */
  challenged(): Iterable<string>;
  /** A host outside the domain that is held here. */
  isForeignHost(host: string): boolean;
  caa(host: string): readonly CaaRecord[];
}

export interface ZoneAnswer {
  readonly rcode: 'NOERROR' | 'NXDOMAIN';
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
}

export const TYPE = { A: 1, NS: 2, SOA: 6, TXT: 16, AAAA: 28, ANY: 255, CAA: 257 } as const;

/** Seconds. Addresses follow the health of gateways, and what is absent may be made the next moment. */
const TTL = { address: 30, absent: 30, challenge: 5, text: 300, apex: 3_600 } as const;

const CHALLENGE = '_acme-challenge';
/** Below it lies a challenge for each host outside the domain, for a CNAME to point to. */
const FOREIGN = '_acme';

/** Where `_acme-challenge.<host>` of a host outside `domain` has to point to by CNAME. */
export function challengeTarget(host: string, domain: string): string {
  return `${host}.${FOREIGN}.${domain}`;
}

/** Undefined for a name of nobody here. @param spelling of `name` as it was asked, for the answer */
export function answerFrom(zone: ZoneView, name: string, spelling: string, type: number): ZoneAnswer | undefined {
  const { domain } = zone;
  if (name === domain || name.endsWith(`.${domain}`)) {
    const prefix = name.slice(0, -domain.length - 1);
    return answer(zone, domain, recordsOf(zone, name, prefix), { spelling, type, isAbove: hasBelow(zone, name) });
  }
  // `_acme-challenge.<host>` delegated to us by NS: a zone of one name.
  const at = name.indexOf(`${CHALLENGE}.`);
  if (at === -1 || (at > 0 && name[at - 1] !== '.')) return undefined;
  const host = name.slice(at + CHALLENGE.length + 1);
  if (!zone.isForeignHost(host)) return undefined;
  const apex = name.slice(at);
  const records = at > 0 ? undefined : [...apexOf(zone, apex), ...texts(zone.challenges(host), TTL.challenge)];
  return answer(zone, apex, records, { spelling, type, isAbove: false });
}

type Unnamed<T> = T extends unknown ? Omit<T, 'name'> : never;
type Data = Unnamed<Answer>;

/** Undefined = there is no such name. */
function recordsOf(zone: ZoneView, name: string, prefix: string): Data[] | undefined {
  const said = texts(zone.texts.get(name) ?? [], TTL.text);
  if (prefix === '') {
    return [...apexOf(zone, zone.domain), ...addresses(zone.addresses()), ...said, ...caa(zone, name)];
  }
  if (zone.ns.includes(name)) return [...addresses(zone.allAddresses()), ...said];
  if (isLabel(prefix) || prefix === '*') return [...addresses(zone.addresses()), ...said, ...caa(zone, name)];
  const challenges = zone.challenges(challengedHost(zone, name, prefix));
  const records = [...said, ...texts(challenges, TTL.challenge)];
  return records.length > 0 ? records : undefined;
}

/** Whose challenges stand under `name`. */
function challengedHost({ domain }: ZoneView, name: string, prefix: string): string {
  if (name.startsWith(`${CHALLENGE}.`)) return name.slice(CHALLENGE.length + 1);
  return prefix.endsWith(`.${FOREIGN}`) && name !== domain ? prefix.slice(0, -FOREIGN.length - 1) : '';
}

/** True when something that is there lies below `name`. */
function hasBelow(zone: ZoneView, name: string): boolean {
  const below = `.${name}`;
  for (const known of [...zone.ns, ...zone.texts.keys()]) if (known.endsWith(below)) return true;
  for (const host of zone.challenged()) {
    const isOurs = host === zone.domain || host.endsWith(`.${zone.domain}`);
    const known = isOurs ? `${CHALLENGE}.${host}` : challengeTarget(host, zone.domain);
    if (known.endsWith(below)) return true;
  }
  return false;
}

function answer(
  zone: ZoneView,
  apex: string,
  records: readonly Data[] | undefined,
  asked: { readonly spelling: string; readonly type: number; readonly isAbove: boolean },
): ZoneAnswer {
  const { spelling, type, isAbove } = asked;
  const authorities = [{ name: apex, ...soa(zone) } as Answer];
  if (records === undefined) return { rcode: isAbove ? 'NOERROR' : 'NXDOMAIN', answers: [], authorities };
  if (type === TYPE.ANY && records.length > 0) {
    // RFC 8482 §4.2: one small record instead of all.
    const hinfo = { name: spelling, type: 'HINFO', ttl: TTL.apex, data: { cpu: 'RFC8482', os: '' } } as Answer;
    return { rcode: 'NOERROR', answers: [hinfo], authorities: [] };
  }
  const answers = records
    .filter((record) => TYPE[record.type as keyof typeof TYPE] === type)
    .map((record) => ({ name: spelling, ...record }));
  return { rcode: 'NOERROR', answers, authorities: answers.length === 0 ? authorities : [] };
}

function apexOf(zone: ZoneView, apex: string): Data[] {
  // A zone of somebody else's that lies here has name servers outside of it.
  const servers = apex === zone.domain ? zone.ns : zone.ns.filter((name) => !name.endsWith(`.${apex}`));
  return [{ ...soa(zone), ttl: TTL.apex }, ...servers.map((data): Data => ({ type: 'NS', ttl: TTL.apex, data }))];
}

function soa(zone: ZoneView): Data & { readonly type: 'SOA' } {
  const data = {
    mname: zone.ns[0] ?? zone.domain,
    rname: `hostmaster.${zone.domain}`,
    serial: zone.serial(),
    refresh: 3_600,
    retry: 600,
    expire: 1_209_600,
    minimum: TTL.absent,
  };
  // RFC 2308 §3: the SOA of a negative answer lives as long as that answer.
  return { type: 'SOA', ttl: TTL.absent, data };
}

function addresses(all: readonly string[]): Data[] {
  return all.map((data): Data => ({ type: data.includes(':') ? 'AAAA' : 'A', ttl: TTL.address, data }));
}

/** One record for each value, in character-strings of 255 bytes at most (RFC 1035 §3.3.14). */
function texts(values: readonly string[], ttl: number): Data[] {
  return values.map((value): Data => {
    const bytes = Buffer.from(value);
    const data: Buffer[] = [];
    for (let at = 0; at < bytes.length || at === 0; at += 255) data.push(bytes.subarray(at, at + 255));
    return { type: 'TXT', ttl, data };
  });
}

function caa(zone: ZoneView, host: string): Data[] {
  return zone.caa(host).map(({ tag, value }): Data => ({ type: 'CAA', ttl: TTL.text, data: { flags: 0, tag, value } }));
}
