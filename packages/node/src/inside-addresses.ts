/** Which addresses lie inside private networks of this machine. */
import { ipv6NetworkOf, ipv6Of } from '@moat/contract';
import type { Deployment } from './deployments/deployment.ts';

/**
 * True for an address that a member has inside one of these networks, where they may stand on an interface. Not the
 * whole range: a LAN may use the same numbers.
 */
export function isInsideAddress(deployments: readonly Deployment[], host: string): boolean {
  return deployments.some(({ id, view }) => {
    if (view.contract.network.plane === 'rootless') return false;
    const places = [...view.places.values()];
    if (!host.includes(':')) return places.some(({ ipv4 }) => ipv4 === host);
    // Derived only for an address of this network: asked of every address of the machine every second.
    const prefix = ipv6NetworkOf(id).replace(/:*\/64$/, ':');
    return host.startsWith(prefix) && places.some(({ name }) => ipv6Of(id, name) === host);
  });
}
