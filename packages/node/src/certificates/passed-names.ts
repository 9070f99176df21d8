/** Names that gateways pass through unread to services of this machine which do not end TLS themselves. */
import { peerIdOfMultiaddr } from '@moat/contract';
import type { DeploymentId, PeerId } from '@moat/core';
import type { ExposedTargets } from '@moat/network';
import type { Deployment } from '../deployments/deployment.ts';

/** One name at one gateway. */
export interface PassedName {
  readonly host: string;
  readonly deployment: DeploymentId;
  readonly service: string;
  readonly gateways: readonly PeerId[];
}

/** Only what the operator exposed to the public: nothing is ordered for anything else. */
export function passedNames(
  deployments: readonly Deployment[],
  exposed: Pick<ExposedTargets, 'isExposed'>,
): PassedName[] {
  return deployments.flatMap(({ id, view, place }) => {
    if (place === undefined || view.contract.state === 'ended') return [];
    const offered = new Map(view.servicesOf(place.name).map((service) => [service.name, service]));
    return view.contract.publish.flatMap(({ name, service: serviceName, tls, port, gateway }): PassedName[] => {
      const service = offered.get(serviceName);
      const isOurs = tls === 'passthrough' && port === undefined && service !== undefined && service.protocol !== 'tcp';
      if (!isOurs || !exposed.isExposed(service.target, id, true)) return [];
      const host = name.includes('.') ? name : `${name}.${gateway.domain}`;
      return [{ host, deployment: id, service: serviceName, gateways: gateway.peers.map(peerIdOfMultiaddr) }];
    });
  });
}
