/** Which addresses lie inside private networks of this machine. */
import { ipv6NetworkOf, ipv6Of, type ContractView } from '@moat/contract';
import type { Deployment } from './deployments/deployment.ts';

/** Derived once a version, and only where the machine has an address of the network: asked of each every second. */
const ipv6OfMembers = new WeakMap<ContractView, ReadonlySet<string>>();

/**
 * True for an address that a member has inside one of these networks, where they may stand on an interface. Not the
 * whole range: a LAN may use the same numbers.
 */
export function isInsideAddress(deployments: readonly Deployment[], host: string): boolean {
  return deployments.some(({ id, view }) => {
    if (view.contract.network.plane === 'rootless') return false;
    const places = [...view.places.values()];
    if (!host.includes(':')) return places.some(({ ipv4 }) => ipv4 === host);
    const prefix = ipv6NetworkOf(id).replace(/:*\/64$/, ':');
    if (!host.startsWith(prefix)) return false;
    let known = ipv6OfMembers.get(view);
    if (known === undefined) ipv6OfMembers.set(view, (known = new Set(places.map(({ name }) => ipv6Of(id, name)))));
    return known.has(host);
  });
}
