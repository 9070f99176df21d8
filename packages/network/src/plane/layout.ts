/**
 * What a contract, the claims on it and this machine's consent make of one member's WireGuard plane: peers, addresses,
 * routes and packet rules. Pure. AllowedIPs come from the contract alone: WireGuard then drops spoofed sources itself.
 */
import { createHash } from 'node:crypto';
import { encodeBase32, type DeploymentId, type PeerId, type Remap } from '@moat/core';
import {
  grantedServices,
  ipv6NetworkOf,
  ipv6Of,
  may,
  placesThatReach,
  type ContractView,
  type Place,
  type Service,
} from '@moat/contract';
import { nftChains } from './packet-rules/nft-chains.ts';
import type { PlaneLayout, PlaneOptions, PlanePeer, PlaneService } from './plane-layout.ts';
import { planeTargetOf } from './plane-target.ts';
import type {
  Addresses,
  CarriedPort,
  Granted,
  PlanePolicy,
  ReachedPort,
  ServedPort,
  Transport,
} from './packet-rules/policy.ts';
import { egressOf, presentBeside } from './present.ts';
import { remapped } from './remapped.ts';

const EVERYWHERE = ['0.0.0.0/0', '::/0'];

/** The interface of a place: `moat` and ten characters that it shares with no other place of this or another machine. */
export function tunnelNameOf(deployment: DeploymentId, peer: PeerId): string {
  const digest = createHash('sha256').update(`moat/tunnel/1\0${deployment}\0${peer}`).digest();
  return `moat${encodeBase32(digest).slice(0, 10)}`;
}

/** As `PlaneOf` says. Costs the access lines and the members they let in, not members × services. */
export function planeOf(view: ContractView, self: string, options: PlaneOptions): PlaneLayout | null {
  const draft = draftOf(view, self, options);
  if (draft === null) return null;
  const { policy, peers, unserved, services, leavesBy } = draft;
  const { contract } = view;
  const goesOut = policy.leaving.length > 0 || policy.served.some(({ target }) => !target.host.startsWith('127.'));
  return {
    name: policy.name,
    addresses: [`${policy.own.ipv4}/32`, `${policy.own.ipv6}/128`],
    peers,
    routes: [contract.network.ipv4, ipv6NetworkOf(contract.deployment), ...(leavesBy === null ? [] : EVERYWHERE)],
    services,
    unserved,
    rules: { chains: nftChains(asSeenHere(policy, options.remap)) },
    forwarding: goesOut ? 'outside' : policy.carried.length > 0 ? 'inside' : 'none',
    leavesBy,
  };
}

/** With the IPv4 addresses under which this machine knows the network. */
function asSeenHere(policy: PlanePolicy, remap: Remap | undefined): PlanePolicy {
  if (remap === undefined) return policy;
  const { own, known, pairs, served, reached, carried, leaving } = policy;
  const seen = <T extends Addresses>(all: T): T => ({ ...all, ipv4: all.ipv4.map((each) => remapped(each, remap)) });
  return {
    ...policy,
    own: { ...own, ipv4: remapped(own.ipv4, remap) },
    known: seen(known),
    pairs: seen(pairs),
    served: served.map((port) => ({ ...port, from: port.from.map(seen) })),
    reached: reached.map((port) => ({ ...port, to: seen(port.to) })),
    carried: carried.map((port) => ({ ...port, from: seen(port.from), to: seen(port.to) })),
    leaving: leaving.map(seen),
  };
}

/** Whether an interface as `before` has it needs nothing but fewer peers and other rules to be as `after` does. */
export function isCutEnough(before: PlaneLayout, after: PlaneLayout): boolean {
  const restOf = ({ name, addresses, routes, forwarding }: PlaneLayout): string =>
    [name, addresses, routes, forwarding].join(' ');
  const had = new Map(before.peers.map(({ publicKey, allowedIps }) => [publicKey, allowedIps.join()]));
  return (
    restOf(before) === restOf(after) &&
    after.peers.every(({ publicKey, allowedIps }) => had.get(publicKey) === allowedIps.join())
  );
}

interface Draft extends Pick<PlaneLayout, 'peers' | 'services' | 'unserved' | 'leavesBy'> {
  readonly policy: PlanePolicy;
}

function draftOf(view: ContractView, self: string, options: PlaneOptions): Draft | null {
  const { contract } = view;
  const own = view.places.get(self);
  const { peer, wireguard } = own ?? {};
  if (own === undefined || typeof peer !== 'string' || wireguard === undefined) return null;
  if (options.now >= own.untilMs || contract.state === 'ended' || contract.network.plane === 'rootless') return null;
  const present = presentBeside(view, own, wireguard, options.now);
  return new Drafting(view, own, present, options).draft(tunnelNameOf(contract.deployment, peer));
}

/** Works out one {@link Draft}; what each part finds tells who must be a peer. */
class Drafting {
  readonly #view: ContractView;
  readonly #own: Place;
  readonly #present: ReadonlyMap<string, Place>;
  readonly #options: PlaneOptions;
  /** By name: who shares a grant or an egress line with us. */
  readonly #pairs = new Set<string>();
  /** By name: who is needed besides, for devices behind us. */
  readonly #carried = new Set<string>();
  /** IPv6 addresses by name: each costs a hash. */
  readonly #derived = new Map<string, string>();
  readonly #ends: boolean;

  constructor(view: ContractView, own: Place, present: ReadonlyMap<string, Place>, options: PlaneOptions) {
    this.#view = view;
    this.#own = own;
    this.#present = present;
    this.#options = options;
    this.#ends = view.nextExpiry(options.now) !== null;
  }

  draft(name: string): Draft {
    const { now } = this.#options;
    const granted = grantedServices(this.#view, this.#own.name, now);
    const { served, unserved } = this.#servedPorts(new Set(granted.map((service) => service.name)));
    const reached = this.#reachedPorts(granted);
    const carried = this.#carriedPorts();
    const { leaving, leavesBy } = egressOf(this.#view, this.#own, this.#present, now);
    for (const { place } of leaving) this.#pairs.add(place.name);
    if (leavesBy !== null) this.#pairs.add(leavesBy);
    const peers = this.#peers(leavesBy);
    const known = peers.flatMap(({ allowedIps }) => allowedIps.filter((range) => !EVERYWHERE.includes(range)));
    const policy = {
      name,
      own: { ipv4: this.#own.ipv4, ipv6: this.#ipv6(this.#own) },
      known: {
        ipv4: known.filter((range) => !range.includes(':')).map(withoutLength),
        ipv6: known.filter((range) => range.includes(':')).map(withoutLength),
      },
      pairs: this.#addresses([...this.#present.values()].filter((place) => this.#pairs.has(place.name))),
      served,
      reached,
      carried,
      leaving: this.#byEnd(leaving),
      nearby: byFamily(this.#options.nearby ?? []),
      leaves: leavesBy !== null,
    };
    return { policy, peers, unserved, leavesBy, services: granted.flatMap((each) => this.#service(each, served)) };
  }

  /** Ours, as far as they are exposed and packets can be sent on to their targets. */
  #servedPorts(granted: ReadonlySet<string>): Pick<Draft, 'unserved'> & { readonly served: readonly ServedPort[] } {
    const served = new Map<string, ServedPort>();
    const unserved: Draft['unserved'][number][] = [];
    const { now, exposed } = this.#options;
    for (const service of this.#view.servicesOf(this.#own.name)) {
      const from = placesThatReach(this.#view, [service], now).filter(({ name }) => this.#present.has(name));
      for (const { name } of from) this.#pairs.add(name);
      const target = planeTargetOf(service.target);
      const port = portOf(service);
      const isExposed = exposed.isExposed(service.target, this.#view.contract.deployment, false);
      if (target.reason !== undefined) unserved.push({ service: service.name, reason: target.reason });
      else if (!isExposed) unserved.push({ service: service.name, reason: 'NOT_EXPOSED' });
      else if (served.has(port.key)) unserved.push({ service: service.name, reason: 'PORT_TAKEN' });
      else {
        const { key, transport } = port;
        const ending = this.#byEnd(from.map((place) => ({ place, untilMs: this.#grantEnd(place, service) })));
        const addresses = ending.map((some) => onlyFamily(some, target.family));
        const self = granted.has(service.name);
        const at = { host: target.host, port: target.port };
        served.set(key, { service: service.name, transport, port: service.port, target: at, from: addresses, self });
      }
    }
    return { served: [...served.values()], unserved };
  }

  /** Those of others that programs here may reach; services on one port of different members are one. */
  #reachedPorts(granted: readonly Service[]): ReachedPort[] {
    const ports = new Map<string, { readonly transport: Transport; readonly port: number; to: Addresses }>();
    for (const service of granted) {
      const places = this.#othersOn(service);
      for (const { name } of places) this.#pairs.add(name);
      const target = planeTargetOf(service.target);
      if (places.length === 0 || target.reason !== undefined) continue;
      const { key, transport } = portOf(service);
      const entry = ports.get(key) ?? { transport, port: service.port, to: NOBODY };
      entry.to = union(entry.to, onlyFamily(this.#addresses(places), target.family));
      ports.set(key, entry);
    }
    return [...ports.values()];
  }

  /** Those of others that devices behind us may reach. */
  #carriedPorts(): CarriedPort[] {
    const devices = new Set([...this.#present.values()].filter(({ via }) => via === this.#own.name));
    if (devices.size === 0) return [];
    return this.#view.contract.services.flatMap((service): CarriedPort[] => {
      const from = placesThatReach(this.#view, [service], this.#options.now).filter((place) => devices.has(place));
      const to = this.#othersOn(service);
      if (from.length === 0 || to.length === 0) return [];
      for (const { name } of [...from, ...to]) this.#carried.add(name);
      const target = planeTargetOf(service.target);
      if (target.reason !== undefined) return [];
      const { transport } = portOf(service);
      const ending = this.#byEnd(from.map((place) => ({ place, untilMs: this.#grantEnd(place, service) })));
      const offering = onlyFamily(this.#addresses(to), target.family);
      return ending.map((some) => ({
        transport,
        port: service.port,
        from: onlyFamily(some, target.family),
        to: offering,
      }));
    });
  }

  /** Devices behind another member are no peers of ours: their addresses are that member's. */
  #peers(leavesBy: string | null): PlanePeer[] {
    const needed = new Map<string, Place[]>();
    for (const place of this.#present.values()) {
      if (!this.#pairs.has(place.name) && !this.#carried.has(place.name)) continue;
      const peer = place.via === undefined || place.via === this.#own.name ? place.name : place.via;
      const behind = needed.get(peer) ?? [];
      if (peer !== place.name) behind.push(place);
      needed.set(peer, behind);
    }
    // Derived addresses of two members may be made to meet; the first keeps it.
    const taken = new Set([this.#ipv6(this.#own)]);
    return [...this.#present.values()].flatMap((place): PlanePeer[] => {
      const behind = needed.get(place.name);
      const { name, peer, wireguard } = place;
      if (behind === undefined || wireguard === undefined) return [];
      const ranges = [place, ...behind].flatMap((each) => {
        const ipv6 = this.#ipv6(each);
        if (taken.has(ipv6)) return [`${each.ipv4}/32`];
        taken.add(ipv6);
        return [`${each.ipv4}/32`, `${ipv6}/128`];
      });
      const allowedIps = leavesBy === name ? [...ranges, ...EVERYWHERE] : ranges;
      return [{ member: name, peer, publicKey: wireguard, allowedIps }];
    });
  }

  #service(service: Service, served: readonly ServedPort[]): PlaneService[] {
    const target = planeTargetOf(service.target);
    if (target.reason !== undefined) return [];
    const isOwn = served.some((port) => port.service === service.name);
    const places = [...this.#othersOn(service), ...(isOwn ? [this.#own] : [])];
    const instances = places.map((place) => ({
      member: place.name,
      address: target.family === 4 ? place.ipv4 : this.#ipv6(place),
    }));
    if (instances.length === 0) return [];
    return [{ service: service.name, protocol: service.protocol, port: service.port, instances }];
  }

  #othersOn({ name }: Service): readonly Place[] {
    return this.#view.membersOn(name).flatMap((place) => this.#present.get(place.name) ?? []);
  }

  /** When a service ends for who may reach it now; asked of the contract only where anything in it ends. */
  #grantEnd(place: Place, { name }: Service): number {
    if (!this.#ends) return Infinity;
    const access = may(this.#view, place.name, name, this.#options.now);
    return Math.min(access.allowed ? access.untilMs : 0, this.#end(place));
  }

  /** When a member stops to take part, or its devices with it, or we. */
  #end({ via, untilMs }: Place): number {
    const hub = via === undefined ? Infinity : (this.#view.places.get(via)?.untilMs ?? 0);
    return Math.min(untilMs, hub, this.#own.untilMs);
  }

  #byEnd(entries: readonly { readonly place: Place; readonly untilMs: number }[]): Granted[] {
    const ends = Map.groupBy(entries, ({ place, untilMs }) => Math.min(untilMs, this.#end(place)));
    return [...ends].map(([untilMs, all]) => ({ ...this.#addresses(all.map(({ place }) => place)), untilMs }));
  }

  #addresses(places: readonly Place[]): Addresses {
    return { ipv4: places.map(({ ipv4 }) => ipv4), ipv6: places.map((place) => this.#ipv6(place)) };
  }

  #ipv6({ name }: Place): string {
    const known = this.#derived.get(name) ?? ipv6Of(this.#view.contract.deployment, name);
    this.#derived.set(name, known);
    return known;
  }
}

const NOBODY: Addresses = { ipv4: [], ipv6: [] };

function portOf({ protocol, port }: Service): { readonly key: string; readonly transport: Transport } {
  const transport = protocol === 'udp' ? 'udp' : 'tcp';
  return { key: `${transport} ${port}`, transport };
}

function onlyFamily<T extends Addresses>(all: T, family: 4 | 6): T {
  return family === 4 ? { ...all, ipv6: [] } : { ...all, ipv4: [] };
}

function union(a: Addresses, b: Addresses): Addresses {
  return { ipv4: [...new Set([...a.ipv4, ...b.ipv4])], ipv6: [...new Set([...a.ipv6, ...b.ipv6])] };
}

function byFamily(ranges: readonly string[]): Addresses {
  const isIpv6 = (range: string): boolean => range.includes(':');
  return { ipv4: ranges.filter((range) => !isIpv6(range)), ipv6: ranges.filter(isIpv6) };
}

function withoutLength(range: string): string {
  return range.split('/', 1)[0] ?? range;
}
