/** What a machine's status says about interfaces that are missing. */
import type { Notice } from '@moat/admin-api';
import type { Deployment } from '../deployments/deployment.ts';
import type { Wireguard } from './wireguard.ts';

/** Networks whose interface is wanted, by their owners or by the operator, and does not stand. */
export function interfaceNotices(deployments: readonly Deployment[], wireguard: Pick<Wireguard, 'get'>): Notice[] {
  return deployments.flatMap(({ id, view, place }): Notice[] => {
    const { name, network, state } = view.contract;
    if (place === undefined || state !== 'active') return [];
    const tunneled = wireguard.get(id);
    const error = tunneled?.error ?? tunneled?.plane?.state.error;
    if (error) return [{ code: error.code, message: `${name} has no WireGuard interface in line: ${error.message}` }];
    if (network.plane !== 'wireguard' || tunneled !== undefined) return [];
    const message = `the owners of ${name} want WireGuard, and it has no interface here: moat wireguard up --network ${name}`;
    return [{ code: 'WIREGUARD_OFF', message }];
  });
}
