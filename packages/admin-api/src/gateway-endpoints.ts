/** The admin API of a gateway, version 1, over its own Unix socket. */
import { endpoint, type Endpoint } from './endpoint.ts';
import { doneSchema, type Done } from './schema/answer.ts';
import {
  gatewayNamesSchema,
  gatewayRoutesSchema,
  gatewayStatusSchema,
  type GatewayNames,
  type GatewayRoutes,
  type GatewayStatus,
} from './schema/gateway.ts';

/** Every endpoint by name. */
export interface GatewayEndpoints {
  readonly status: Endpoint<null, GatewayStatus>;
  readonly names: Endpoint<null, GatewayNames>;
  readonly routes: Endpoint<null, GatewayRoutes>;
  readonly stop: Endpoint<null, Done>;
}

export const gatewayEndpoints: GatewayEndpoints = {
  status: endpoint('get', '/v1/status', 'The gateway as a whole', gatewayStatusSchema),
  names: endpoint('get', '/v1/names', 'Names in the registry', gatewayNamesSchema),
  routes: endpoint('get', '/v1/routes', 'The route snapshot in force', gatewayRoutesSchema),
  stop: endpoint('post', '/v1/stop', 'Stops the gateway in order', doneSchema),
};
