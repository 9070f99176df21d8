/** The admin API of a gateway, version 1, over its own Unix socket. */
import { endpoint, type Endpoint } from './endpoint.ts';
import { doneSchema, type Done } from './schema/answer.ts';
import {
  changedNameSchema,
  changeNameRequestSchema,
  type ChangedName,
  type ChangeNameRequest,
} from './schema/gateway-names.ts';
import { gatewayCertificatesSchema, type GatewayCertificates } from './schema/gateway-certificates.ts';
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

import {
  configReloadSchema,
  gatewayAuditCheckSchema,
  gatewayAuditSchema,
  gatewaySnapshotSchema,
  gatewaySuspensionSchema,
  resumedSchema,
  resumeRequestSchema,
  stopRequestSchema,
  suspendRequestSchema,
  type ConfigReload,
  type GatewayAudit,
  type GatewayAuditCheck,
  type GatewaySnapshot,
  type GatewaySuspension,
  type Resumed,
  type ResumeRequest,
  type StopRequest,
  type SuspendRequest,
} from './schema/gateway-operator.ts';

/** Every endpoint by name. */
export interface GatewayEndpoints {
  readonly status: Endpoint<null, GatewayStatus>;
  readonly names: Endpoint<null, GatewayNames>;
  readonly certificates: Endpoint<null, GatewayCertificates>;
  readonly changeName: Endpoint<ChangeNameRequest, ChangedName>;
  readonly routes: Endpoint<null, GatewayRoutes>;
  readonly publishers: Endpoint<null, GatewayPublishers>;
  readonly decide: Endpoint<DecidePublisherRequest, GatewayPublisher>;
  readonly forget: Endpoint<ForgetDeploymentRequest, ForgottenDeployment>;
  readonly suspend: Endpoint<SuspendRequest, GatewaySuspension>;
  readonly resume: Endpoint<ResumeRequest, Resumed>;
  readonly audit: Endpoint<null, GatewayAudit>;
  readonly checkAudit: Endpoint<null, GatewayAuditCheck>;
  readonly invite: Endpoint<CreateInviteRequest, CreatedInvite>;
  readonly rotateKey: Endpoint<RotateKeyRequest, KeyRotation>;
  readonly backup: Endpoint<null, GatewaySnapshot>;
  readonly reload: Endpoint<null, ConfigReload>;
  readonly restartWorkers: Endpoint<null, Done>;
  readonly stop: Endpoint<StopRequest, Done>;
}

export const gatewayEndpoints: GatewayEndpoints = {
  status: endpoint('get', '/v1/status', 'The gateway as a whole', gatewayStatusSchema),
  names: endpoint('get', '/v1/names', 'Names in the registry', gatewayNamesSchema),
  certificates: endpoint('get', '/v1/certificates', 'Certificates held and wanted', gatewayCertificatesSchema),
  changeName: endpoint('post', '/v1/names', 'Gives a name away, or sets it free, at once', changedNameSchema, {
    body: changeNameRequestSchema,
  }),
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
  suspend: endpoint('post', '/v1/suspensions', 'Takes a name or a deployment off the air', gatewaySuspensionSchema, {
    body: suspendRequestSchema,
  }),
  resume: endpoint('post', '/v1/suspensions/ended', 'Puts what was suspended on the air again', resumedSchema, {
    body: resumeRequestSchema,
  }),
  audit: endpoint('get', '/v1/audit', 'Lines of the audit log, oldest first', gatewayAuditSchema, {
    query: ['after', 'since'],
  }),
  checkAudit: endpoint(
    'post',
    '/v1/audit/check',
    'Reads the audit log against its sealed ends',
    gatewayAuditCheckSchema,
  ),
  invite: endpoint('post', '/v1/invites', 'Makes an invite code', createdInviteSchema, {
    body: createInviteRequestSchema,
  }),
  rotateKey: endpoint('post', '/v1/key-rotation', 'Replaces the gateway’s key, in two steps', keyRotationSchema, {
    body: rotateKeyRequestSchema,
  }),
  backup: endpoint('post', '/v1/backups', 'Copies everything that a backup holds', gatewaySnapshotSchema),
  reload: endpoint('post', '/v1/config', 'Reads gateway.yaml anew', configReloadSchema),
  restartWorkers: endpoint('post', '/v1/workers/restart', 'Puts new workers in place, one by one', doneSchema),
  stop: endpoint('post', '/v1/stop', 'Stops the gateway in order', doneSchema, { body: stopRequestSchema }),
};
