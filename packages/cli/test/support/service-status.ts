import type { ServiceStatus } from '@moat/admin-api';
import type { Contract } from '@moat/contract';

/** Each service well, granted to this machine and offered by another, but for what `here` says. */
export function serviceStatuses({ name: network, services }: Contract, here: Partial<ServiceStatus>): ServiceStatus[] {
  return services.map(({ name, port, protocol, target }) => ({
    name,
    host: `${name}.${network}.internal`,
    port,
    protocol,
    target,
    on: [],
    granted: true,
    local: { host: '127.9.9.9', port },
    instances: 1,
    connected: 1,
    healthy: 1,
    exposed: null,
    ...here,
  }));
}
