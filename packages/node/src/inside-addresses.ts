/** Which addresses lie inside private networks of this machine. */
import { ipv6Of } from '@moat/contract';
import type { Deployment } from './deployments/deployment.ts';

/**
 * True for an address that a member has inside one of these networks, where they may stand on an interface. Not the
 * whole range: a LAN may use the same numbers.
 */
export function isInsideAddress(deployments: readonly Deployment[], host: string): boolean {
  return deployments.some(({ id, view }) => {
    if (view.contract.network.plane === 'rootless') return false;
    return [...view.places.values()].some(({ name, ipv4 }) => ipv4 === host || ipv6Of(id, name) === host);
  });
}
