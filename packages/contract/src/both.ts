/** What two branches of a fork both allow: the one view a machine may act on until the owners end the fork. */
import { canonicalize } from './canonical.ts';
import { tagOf } from './selector.ts';
import { parseTime } from './time.ts';
import type { Contract, Egress, Grant, Member, PublishLine, Service } from './schema.ts';

/** Selectors looked at in pairs of lines; about 0.1 s, since a machine has other networks too. */
const MAX_STEPS = 2_000_000;
/** What a pair costs whose lines share something, in steps. */
const SHARED_STEPS = 32;

/**
 * `contract` without everything `other` does not have as well: members with another machine or invite, services
 * with another meaning, grants, publications. For building a view only, never signed: it is no version.
 * Removing is always possible, so this never throws.
 */
export function whatBothAllow(contract: Contract, other: Contract): Contract {
  const members = sharedMembers(contract, other);
  const services = sharedServices(contract, other, members);
  const { egress: _, ...rest } = contract;
  return {
    ...rest,
    network: { ...contract.network, ...earlierStale(contract, other), ...stricterQuantum(contract, other) },
    members,
    services,
    access: sharedGrants(contract, other, services),
    ...sharedEgress(contract, other),
    publish: sharedPublications(contract, other, services),
    state: other.state === 'ended' ? 'ended' : contract.state,
  };
}

/** The stricter of both: a fork is no reason to trust old news for longer. */
function earlierStale({ network }: Contract, { network: other }: Contract): { readonly maxStale?: number } {
  const limits = [network.maxStale, other.maxStale].filter((limit) => limit !== undefined);
  return limits.length === 0 ? {} : { maxStale: Math.min(...limits) };
}

/** Likewise what one branch no longer does without. */
function stricterQuantum(
  { network }: Contract,
  { network: other }: Contract,
): Pick<Contract['network'], 'postQuantum'> {
  const said = [network.postQuantum, other.postQuantum];
  if (said.includes('require')) return { postQuantum: 'require' };
  return said.includes('prefer') ? { postQuantum: 'prefer' } : {};
}

/** By name: the same machine or invite, the tags both give, the earlier end. */
function sharedMembers(contract: Contract, other: Contract): Member[] {
  const theirs = new Map(other.members.map((member) => [member.name, member]));
  return contract.members.flatMap((ours): Member[] => {
    const their = theirs.get(ours.name);
    if (their === undefined || !isSamePlace(ours, their)) return [];
    const { name, node, via, wireguard, ipv4, invite } = ours;
    return [
      {
        name,
        ...(node === undefined ? {} : { node }),
        ...(via === undefined ? {} : { via }),
        ...(wireguard === undefined ? {} : { wireguard }),
        ipv4,
        tags: ours.tags.filter((tag) => their.tags.includes(tag)),
        ...(ours.keeper === true && their.keeper === true ? { keeper: true as const } : {}),
        ...(invite === undefined ? {} : { invite }),
        ...earlierEnd(ours.expires, their.expires),
      },
    ];
  });
}

function isSamePlace(ours: Member, theirs: Member): boolean {
  return (
    ours.node === theirs.node &&
    ours.via === theirs.via &&
    ours.wireguard === theirs.wireguard &&
    ours.ipv4 === theirs.ipv4 &&
    ours.invite?.key === theirs.invite?.key &&
    ours.invite?.expires === theirs.invite?.expires
  );
}

/** By name: the same port, target and protocol, on the members and tags both put it on. */
function sharedServices(contract: Contract, other: Contract, members: readonly Member[]): Service[] {
  const theirs = new Map(other.services.map((service) => [service.name, service]));
  const left = new Set(members.map(({ name }) => name));
  return contract.services.flatMap((ours): Service[] => {
    const their = theirs.get(ours.name);
    const isSame = ours.port === their?.port && ours.target === their.target && ours.protocol === their.protocol;
    if (their === undefined || !isSame) return [];
    const also = new Set(their.on);
    const on = ours.on.filter((one) => also.has(one) && (tagOf(one) !== undefined || left.has(one)));
    return on.length === 0 ? [] : [{ ...ours, on }];
  });
}

/**
 * The lines that are the same in both, then what a line of each allows, for every pair of lines, with the earlier end.
 * Selectors are compared as written: a name on one side and a tag on the other share nothing, so less is allowed,
 * never more; likewise beyond {@link MAX_STEPS}, which only hundreds of lines need that differ and overlap.
 */
function sharedGrants(contract: Contract, other: Contract, services: readonly Service[]): Grant[] {
  const theirs = linesByService(other, new Set(services.map(({ name }) => name)));
  const known = (to: readonly string[]): string[] => to.filter((service) => theirs.has(service));
  const same = new Set(other.access.map(textOf));
  const shared = new Map(
    contract.access
      .filter((ours) => same.has(textOf(ours)))
      .map((ours): Grant => ({ ...ours, to: known(ours.to) }))
      .filter(({ to }) => to.length > 0)
      .map((grant) => [textOf(grant), grant]),
  );
  let steps = 0;
  for (const ours of contract.access) {
    const leading = known(ours.to).flatMap((service) => theirs.get(service) ?? []);
    steps += leading.length;
    for (const their of [...new Set(leading)].sort((a, b) => a.index - b.index)) {
      steps += ours.from.length;
      if (steps > MAX_STEPS) return [...shared.values()];
      const from = ours.from.filter((selector) => their.from.has(selector));
      if (from.length === 0) continue;
      const to = known(ours.to).filter((service) => their.to.has(service));
      steps += SHARED_STEPS + ours.to.length;
      const grant: Grant = { from, to, ...earlierEnd(ours.expires, their.expires) };
      shared.set(textOf(grant), grant);
    }
  }
  return [...shared.values()];
}

/** The same for lines that say the same. */
function textOf({ from, to, expires }: Grant): string {
  return `${from.join()} ${to.join()} ${expires ?? ''}`;
}

interface Line {
  readonly index: number;
  readonly from: ReadonlySet<string>;
  readonly to: ReadonlySet<string>;
  readonly expires: string | undefined;
}

/** The lines that lead to each of these services. */
function linesByService({ access }: Contract, services: ReadonlySet<string>): ReadonlyMap<string, readonly Line[]> {
  const lines = new Map([...services].map((service): [string, Line[]] => [service, []]));
  for (const [index, { from, to, expires }] of access.entries()) {
    const line: Line = { index, from: new Set(from), to: new Set(to), expires };
    for (const service of to) lines.get(service)?.push(line);
  }
  return lines;
}

/**
 * What a line of each lets through the same member, with the earlier end. Selectors are compared as written. At most
 * 64 × 64 lines of 256 selectors: 10 ms.
 */
function sharedEgress(contract: Contract, other: Contract): Pick<Contract, 'egress'> {
  const theirs = (other.egress ?? []).map((line) => ({ ...line, from: new Set(line.from) }));
  const egress = (contract.egress ?? []).flatMap((ours) =>
    theirs.flatMap((their): Egress[] => {
      if (their.via !== ours.via) return [];
      const from = ours.from.filter((selector) => their.from.has(selector));
      return from.length === 0 ? [] : [{ from, via: ours.via, ...earlierEnd(ours.expires, their.expires) }];
    }),
  );
  return egress.length === 0 ? {} : { egress };
}

/** Lines that are the same in both, salt, gateway and rules included. */
function sharedPublications(contract: Contract, other: Contract, services: readonly Service[]): PublishLine[] {
  const known = new Set(services.map(({ name }) => name));
  const theirs = new Set(other.publish.map((line) => canonicalize(line)));
  return contract.publish.filter((line) => known.has(line.service) && theirs.has(canonicalize(line)));
}

function earlierEnd(one: string | undefined, other: string | undefined): { readonly expires?: string } {
  if (one === undefined || other === undefined) {
    const expires = one ?? other;
    return expires === undefined ? {} : { expires };
  }
  return { expires: parseTime(one) <= parseTime(other) ? one : other };
}
