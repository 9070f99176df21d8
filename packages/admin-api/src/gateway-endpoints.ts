/** The admin API of a gateway, version 1, over its own Unix socket. */
import { endpoint, type Endpoint } from './endpoint.ts';
import { doneSchema, type Done } from './schema/answer.ts';
import {
  createdInviteSchema,
  createInviteRequestSchema,
  decidePublisherRequestSchema,
  forgetDeploymentRequestSchema,
  forgottenDeploymentSchema,
  gatewayDecidedSchema,
  gatewayNamesSchema,
  gatewayPublishersSchema,
  gatewayRoutesSchema,
  gatewayStatusSchema,
  keyRotationSchema,
  rotateKeyRequestSchema,
  type CreatedInvite,
  type CreateInviteRequest,
  type DecidePublisherRequest,
  type ForgetDeploymentRequest,
  type ForgottenDeployment,
  type GatewayNames,
  type GatewayPublisher,
  type GatewayPublishers,
  type GatewayRoutes,
  type GatewayStatus,
  type KeyRotation,
  type RotateKeyRequest,
} from './schema/gateway.ts';

/** Every endpoint by name. */
export interface GatewayEndpoints {
  readonly status: Endpoint<null, GatewayStatus>;
  readonly names: Endpoint<null, GatewayNames>;
  readonly routes: Endpoint<null, GatewayRoutes>;
  readonly publishers: Endpoint<null, GatewayPublishers>;
  readonly decide: Endpoint<DecidePublisherRequest, GatewayPublisher>;
  readonly forget: Endpoint<ForgetDeploymentRequest, ForgottenDeployment>;
  readonly invite: Endpoint<CreateInviteRequest, CreatedInvite>;
  readonly rotateKey: Endpoint<RotateKeyRequest, KeyRotation>;
  readonly restartWorkers: Endpoint<null, Done>;
  readonly stop: Endpoint<null, Done>;
}

export const gatewayEndpoints: GatewayEndpoints = {
  status: endpoint('get', '/v1/status', 'The gateway as a whole', gatewayStatusSchema),
  names: endpoint('get', '/v1/names', 'Names in the registry', gatewayNamesSchema),
  routes: endpoint('get', '/v1/routes', 'The route snapshot in force', gatewayRoutesSchema),
  publishers: endpoint(
    'get',
    '/v1/publishers',
    'What was decided about deployments, open codes',
    gatewayPublishersSchema,
  ),
  decide: endpoint('post', '/v1/publishers', 'Allows or denies a deployment, at once', gatewayDecidedSchema, {
    body: decidePublisherRequestSchema,
  }),
  forget: endpoint('post', '/v1/forgotten', 'Forgets what a deployment has shown', forgottenDeploymentSchema, {
    body: forgetDeploymentRequestSchema,
  }),
  invite: endpoint('post', '/v1/invites', 'Makes an invite code', createdInviteSchema, {
    body: createInviteRequestSchema,
  }),
  rotateKey: endpoint('post', '/v1/key-rotation', 'Replaces the gateway’s key, in two steps', keyRotationSchema, {
    body: rotateKeyRequestSchema,
  }),
  restartWorkers: endpoint('post', '/v1/workers/restart', 'Puts new workers in place, one by one', doneSchema),
  stop: endpoint('post', '/v1/stop', 'Stops the gateway in order', doneSchema),
};
