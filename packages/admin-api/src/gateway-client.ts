/** A gateway's admin API as methods. */
import { gatewayEndpoints } from './gateway-endpoints.ts';
import type { GatewayNames, GatewayRoutes, GatewayStatus } from './schema/gateway.ts';
import { UnixClient, type CallOptions } from './unix-client.ts';

/** Every method throws as those of the agent's client. */
export interface GatewayClient {
  status(options?: CallOptions): Promise<GatewayStatus>;
  names(options?: CallOptions): Promise<GatewayNames>;
  routes(options?: CallOptions): Promise<GatewayRoutes>;
  stop(options?: CallOptions): Promise<void>;
}

/** A client of the gateway that listens on `socketPath`. */
export function createGatewayClient(options: { readonly socketPath: string }): GatewayClient {
  const client = new UnixClient({ ...options, who: 'the gateway', startCommand: 'moat gateway run' });
  return {
    status: (call) => client.call(gatewayEndpoints.status, {}, call),
    names: (call) => client.call(gatewayEndpoints.names, {}, call),
    routes: (call) => client.call(gatewayEndpoints.routes, {}, call),
    stop: async (call) => void (await client.call(gatewayEndpoints.stop, {}, call)),
  };
}
