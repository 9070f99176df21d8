/**
 * A contract prepared for questions on every stream: who is this peer, who offers this service, what is
 * granted. Built once per version, claim or expiry; every answer is a map lookup, without crypto.
 */
import type { PeerId } from '@moat/core';
import { placesOnAll, resolvePlaces, type Place } from './places.ts';
import { publicationsOf } from './publication.ts';
import { memberResolver } from './selector.ts';
import { parseTime } from './time.ts';
import type { Contract, MemberClaim, Publication, Service, WitnessedClaim } from './schema.ts';

/** A line of the access list, prepared. */
export interface ResolvedGrant {
  /** Index of the line in `contract.access`. */
  readonly grant: number;
  /** Member names and `tag:<tag>`, as the line says: expanding tags would cost members × lines. */
  readonly from: ReadonlySet<string>;
  /** Milliseconds since 1970; infinite when it never expires. */
  readonly expiresMs: number;
  /** The line as people read it: `access[0] of version 3: tag:web → db`. */
  readonly text: string;
}

/** Answers about one version and the claims on it. Immutable: a change is a new view, swapped whole. */
export interface ContractView {
  readonly contract: Contract;
  /** By member name, in the contract's order. */
  readonly places: ReadonlyMap<string, Place>;
  /** By service name, in the contract's order. */
  readonly services: ReadonlyMap<string, Service>;
  /** The place this peer holds now. */
  memberOf(peer: PeerId): Place | undefined;
  /** Places that offer a service and are held; empty for an unknown one. */
  membersOn(service: string): readonly Place[];
  /** Services a member offers; empty for an unknown one. */
  servicesOf(member: string): readonly Service[];
  /** Everybody who holds a place. */
  peers(): readonly PeerId[];
  /** Keepers that are held; of these, the ones with state `pinned` may witness claims. */
  keepers(): readonly Place[];
  /** The access lines that lead to a service, in order. */
  grantsTo(service: string): readonly ResolvedGrant[];
  /** What this gateway publishes; empty for anybody else. */
  publishedAt(gateway: PeerId): readonly Publication[];
  /** When the next membership, invite, grant or egress line ends, in milliseconds since 1970: build again then; null = never. */
  nextExpiry(now: number): number | null;
}

/**
 * Verifies the claims it is given (about 0.4 ms each); ones that do not hold under this contract are ignored.
 * @param now milliseconds since 1970.
 * @param proven claims verified by earlier calls, kept by whoever builds again: their signatures are not verified anew.
 * @param branches in a fork, the contracts that `contract` is what they all allow of; else none.
 */
export function buildView(
  contract: Contract,
  claims: readonly MemberClaim[],
  now: number,
  proven?: WeakSet<WitnessedClaim>,
  branches: readonly Contract[] = [],
): ContractView {
  const own = resolvePlaces(contract, claims, now, proven);
  const places = new Map(placesOnAll(own, branches, claims, now, proven).map((place) => [place.name, place]));
  const held = [...places.values()].filter(({ peer }) => peer !== null);
  const peers = held.flatMap(({ peer }) => peer ?? []);
  const keepers = held.filter(({ keeper }) => keeper);
  const byPeer = new Map(held.map((place) => [place.peer, place]));
  const grants = grantsByService(contract);
  const published = publicationsByGateway(contract);
  const expiries = expiriesOf(contract);

  const resolve = memberResolver(contract);
  const offering = new Map<string, readonly Place[]>();
  const offered = new Map<string, Service[]>();
  for (const service of contract.services) {
    const names = resolve(service.on).map(({ name }) => name);
    offering.set(
      service.name,
      names.flatMap((name) => places.get(name) ?? []).filter(({ peer }) => peer !== null),
    );
    for (const name of names) append(offered, name, service);
  }

  return {
    contract,
    places,
    services: new Map(contract.services.map((service) => [service.name, service])),
    memberOf: (peer) => byPeer.get(peer),
    membersOn: (service) => offering.get(service) ?? [],
    servicesOf: (member) => offered.get(member) ?? [],
    peers: () => peers,
    keepers: () => keepers,
    grantsTo: (service) => grants.get(service) ?? [],
    publishedAt: (gateway) => published.get(gateway) ?? [],
    nextExpiry: (after) => expiries.find((timeMs) => timeMs > after) ?? null,
  };
}

function grantsByService(contract: Contract): ReadonlyMap<string, ResolvedGrant[]> {
  const byService = new Map<string, ResolvedGrant[]>();
  for (const [grant, line] of contract.access.entries()) {
    const from = new Set(line.from);
    const expiresMs = line.expires === undefined ? Infinity : parseTime(line.expires);
    const text = `access[${grant}] of version ${contract.version}: ${line.from.join(', ')} → ${line.to.join(', ')}`;
    for (const service of line.to) append(byService, service, { grant, from, expiresMs, text });
  }
  return byService;
}

function publicationsByGateway(contract: Contract): ReadonlyMap<PeerId, Publication[]> {
  const byGateway = new Map<PeerId, Publication[]>();
  for (const publication of publicationsOf(contract)) {
    for (const gateway of publication.gateways) append(byGateway, gateway, publication);
  }
  return byGateway;
}

/** Every instant at which this contract says less than before, ascending. */
function expiriesOf(contract: Contract): readonly number[] {
  const members = contract.members.flatMap(({ expires, invite }) => [expires, invite?.expires]);
  const lines = [...contract.access, ...(contract.egress ?? [])].map(({ expires }) => expires);
  const times = [...members, ...lines].flatMap((time) => (time === undefined ? [] : parseTime(time)));
  return times.sort((a, b) => a - b);
}

function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
