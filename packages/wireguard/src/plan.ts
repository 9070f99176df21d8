/** What an interface lacks, as steps in their order. Pure. */
import type { TunnelPeer, TunnelSpec } from '@moat/core';
import { canonicalCidr, canonicalInterfaceAddress, isIpv6Range } from './cidr.ts';
import { rulesDigest } from './nft.ts';

/** An interface as it stands; ranges and addresses in canonical form. */
export interface Standing {
  readonly up: boolean;
  /** Secret. */
  readonly privateKey: string | null;
  readonly port: number;
  readonly mtu: number;
  readonly addresses: readonly string[];
  readonly routes: readonly string[];
  readonly peers: readonly TunnelPeer[];
  /** Settings of the kernel that this kernel has. */
  readonly settings: ReadonlyMap<string, string>;
  /** What its table is marked with; null = no table, or not ours. */
  readonly rules: string | null;
}

/** One change. */
export type Step =
  | { readonly do: 'remove-peer'; readonly publicKey: string }
  | { readonly do: 'take-allowed-ip'; readonly publicKey: string; readonly cidr: string }
  | { readonly do: 'remove-route'; readonly route: string }
  | { readonly do: 'remove-address'; readonly address: string }
  | { readonly do: 'create' }
  | { readonly do: 'rules'; readonly chains: string }
  | { readonly do: 'setting'; readonly key: string; readonly value: string }
  | { readonly do: 'key'; readonly privateKey: string }
  | { readonly do: 'port'; readonly port: number }
  | { readonly do: 'mtu'; readonly mtu: number }
  | { readonly do: 'add-address'; readonly address: string }
  | { readonly do: 'up' }
  | { readonly do: 'add-peer'; readonly publicKey: string; readonly allowedIps: readonly string[] }
  | { readonly do: 'give-allowed-ips'; readonly publicKey: string; readonly allowedIps: readonly string[] }
  | { readonly do: 'add-route'; readonly route: string };

/** What is wanted beside the spec. */
export interface PlanOptions {
  /** Settings of the kernel, by key. */
  readonly settings: ReadonlyMap<string, string>;
  /** Peers that stay though the spec does not have them: those that probe. */
  readonly keep: ReadonlySet<string>;
}

/**
 * Steps from what stands to `spec`, in an order in which nothing is open that neither of the two has open: first all
 * that goes, then the rules, then all that comes. An allowed IP that moves is nobody's in between.
 * @throws `TUNNEL_FAILED` when the spec has something that is no range.
 */
export function planTunnel(before: Standing | null, spec: TunnelSpec, options: PlanOptions): readonly Step[] {
  const wanted = new Map(spec.peers.map((peer) => [peer.publicKey, new Set(peer.allowedIps.map(canonicalCidr))]));
  const addresses = new Set(spec.addresses.map(canonicalInterfaceAddress));
  const routes = new Set(spec.routes.map(canonicalCidr));
  const steps: Step[] = [];
  for (const { publicKey, allowedIps } of before?.peers ?? []) {
    const peer = wanted.get(publicKey);
    if (peer === undefined) {
      if (!options.keep.has(publicKey)) steps.push({ do: 'remove-peer', publicKey });
    } else {
      for (const cidr of allowedIps) if (!peer.has(cidr)) steps.push({ do: 'take-allowed-ip', publicKey, cidr });
    }
  }
  for (const route of before?.routes ?? []) if (!routes.has(route)) steps.push({ do: 'remove-route', route });
  for (const address of before?.addresses ?? []) {
    if (!addresses.has(address)) steps.push({ do: 'remove-address', address });
  }
  if (before === null) steps.push({ do: 'create' });
  if (before?.rules !== rulesDigest(spec.rules.chains)) steps.push({ do: 'rules', chains: spec.rules.chains });
  for (const [key, value] of options.settings) {
    // Of an interface that stands all is known: what is not said this kernel does not have.
    if (before === null || (before.settings.get(key) ?? value) !== value) steps.push({ do: 'setting', key, value });
  }
  if (before?.privateKey !== spec.privateKey) steps.push({ do: 'key', privateKey: spec.privateKey });
  if (before?.port !== spec.port) steps.push({ do: 'port', port: spec.port });
  if (before?.mtu !== spec.mtu) steps.push({ do: 'mtu', mtu: spec.mtu });
  const standing = new Set(before?.addresses);
  for (const address of addresses) if (!standing.has(address)) steps.push({ do: 'add-address', address });
  if (before?.up !== true) steps.push({ do: 'up' });
  steps.push(...peersToCome(before, wanted));
  const leading = routesThatStay(before, addresses);
  for (const route of routes) if (!leading.has(route)) steps.push({ do: 'add-route', route });
  return steps;
}

/** An interface that was down has no routes, and one whose last IPv4 address goes loses those of IPv4. */
function routesThatStay(before: Standing | null, addresses: ReadonlySet<string>): ReadonlySet<string> {
  if (before?.up !== true) return new Set();
  const ipv4 = before.addresses.filter((address) => !isIpv6Range(address));
  const flushed = ipv4.length > 0 && !ipv4.some((address) => addresses.has(address));
  return new Set(before.routes.filter((route) => !flushed || isIpv6Range(route)));
}

function peersToCome(before: Standing | null, wanted: ReadonlyMap<string, ReadonlySet<string>>): Step[] {
  const standing = new Map(before?.peers.map((peer) => [peer.publicKey, new Set(peer.allowedIps)]));
  const steps: Step[] = [];
  for (const [publicKey, allowed] of wanted) {
    const has = standing.get(publicKey);
    const allowedIps = [...allowed];
    if (has === undefined) steps.push({ do: 'add-peer', publicKey, allowedIps });
    else if (allowedIps.some((cidr) => !has.has(cidr))) steps.push({ do: 'give-allowed-ips', publicKey, allowedIps });
  }
  return steps;
}

/** What a step does, as people read it; without secrets. */
export function describeStep(step: Step): string {
  switch (step.do) {
    case 'remove-peer':
      return `peer ${step.publicKey} removed`;
    case 'take-allowed-ip':
      return `allowed IP ${step.cidr} taken from ${step.publicKey}`;
    case 'remove-route':
      return `route ${step.route} removed`;
    case 'remove-address':
      return `address ${step.address} removed`;
    case 'create':
      return 'interface created';
    case 'rules':
      return 'packet rules replaced';
    case 'setting':
      return `${step.key} set to ${step.value}`;
    case 'key':
      return 'private key set';
    case 'port':
      return `port set to ${step.port}`;
    case 'mtu':
      return `MTU set to ${step.mtu}`;
    case 'add-address':
      return `address ${step.address} added`;
    case 'up':
      return 'interface up';
    case 'add-peer':
      return `peer ${step.publicKey} added with ${step.allowedIps.join(', ') || 'no allowed IPs'}`;
    case 'give-allowed-ips':
      return `peer ${step.publicKey} now has ${step.allowedIps.join(', ')}`;
    case 'add-route':
    default:
      return `route ${step.route} added`;
  }
}
