/** What programs of this machine are told of a network's services. */
import type { NamedService, PrivateNetwork } from '@moat/network';

/** A granted service with its address: over the interface where members were met there, else our own listener. */
export interface ReachedService extends NamedService {
  /** `<service>.<network>.internal`. */
  readonly host: string;
}

/** In the contract's order; what no way leads to is left out. */
export function namedServices(network: PrivateNetwork): readonly ReachedService[] {
  return network.services().flatMap(({ name, host, address, port, plane, servicePort, granted }) => {
    if (!granted) return [];
    const [, label = ''] = host.split('.');
    const [first, ...alsoAt] = plane;
    if (first !== undefined) return [{ name, host, network: label, address: first, alsoAt, port: servicePort }];
    return address === null ? [] : [{ name, host, network: label, address, port }];
  });
}
