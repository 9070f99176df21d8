/** Which addresses lie inside private networks of this machine. */
import { ipv6NetworkOf, ipv6Of, type ContractView, type Place } from '@moat/contract';
import type { Deployment } from './deployments/deployment.ts';

/** Of each version, made when it is first asked for: every address of the machine is asked every second. */
const ipv4OfMembers = new WeakMap<ContractView, ReadonlySet<string>>();
const ipv6OfMembers = new WeakMap<ContractView, ReadonlySet<string>>();

/**
 * True for an address that a member has inside one of these networks, where they may stand on an interface. Not the
 * whole range: a LAN may use the same numbers.
 */
export function isInsideAddress(deployments: readonly Deployment[], host: string): boolean {
  return deployments.some(({ id, view }) => {
    if (view.contract.network.plane === 'rootless') return false;
    if (!host.includes(':')) return known(ipv4OfMembers, view, ({ ipv4 }) => ipv4).has(host);
    const prefix = ipv6NetworkOf(id).replace(/:*\/64$/, ':');
    return host.startsWith(prefix) && known(ipv6OfMembers, view, ({ name }) => ipv6Of(id, name)).has(host);
  });
}

function known(
  all: WeakMap<ContractView, ReadonlySet<string>>,
  view: ContractView,
  addressOf: (place: Place) => string,
): ReadonlySet<string> {
  let addresses = all.get(view);
  if (addresses === undefined) all.set(view, (addresses = new Set([...view.places.values()].map(addressOf))));
  return addresses;
}
