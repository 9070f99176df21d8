/**
 * Schema and typed client of the local APIs: the agent's and the gateway's, HTTP over a Unix socket.
 * The tables of endpoints are the only description; servers, clients and the OpenAPI document come from them.
 *
 * @example
 * ```ts
 * import { createAgentClient } from '@moat/admin-api';
 * const agent = createAgentClient({ socketPath: '/var/lib/moat/agent.sock' });
 * const { deployments } = await agent.status();
 * for (const { name, version, member } of deployments) console.log(name, version, member);
 * ```
 * @packageDocumentation
 */
export { createAgentClient, type AgentClient } from './agent-client.ts';
export { agentEndpoints, type AgentEndpoints } from './agent-endpoints.ts';
export type { Endpoint, Method } from './endpoint.ts';
export { createApp, type App, type AppOptions, type Call, type Handlers } from './app.ts';
export { ADMIN_API_ERROR_CODES, type AdminApiErrorCode } from './errors.ts';
export { createGatewayClient, type GatewayClient } from './gateway-client.ts';
export { gatewayEndpoints, type GatewayEndpoints } from './gateway-endpoints.ts';
export {
  errorAnswerSchema,
  type Document,
  type Done,
  type ErrorAnswer,
  type LocalAddress,
  type Notice,
} from './schema/answer.ts';
export type { Branch, Branches } from './schema/branch.ts';
export type { Rotation } from './schema/rotation.ts';
export type {
  CreateDeploymentRequest,
  DeploymentDetail,
  DeploymentHeld,
  DeploymentSummary,
  FreshnessStatus,
  MemberReceipt,
  PlaceStatus,
  PublicationCertificate,
  PublicationStatus,
  ReceiptStatus,
  ServiceStatus,
  StoredVersion,
  SubmitVersionRequest,
  VersionAccepted,
} from './schema/deployment.ts';
export type {
  AgentEvent,
  AgentEventLine,
  AlarmEvent,
  ClaimEvent,
  JoinEvent,
  LinkEvent,
  PublicationEvent,
  VersionEvent,
} from './schema/event.ts';
export type { AnnounceRequest, Announced, AskedAnchor, FindRequest, Found, ToldAnchor } from './schema/directory.ts';
export type { RedeemRequest } from './schema/gateway-code.ts';
export type {
  CreatedInvite,
  CreateInviteRequest,
  DecidePublisherRequest,
  ForgetDeploymentRequest,
  ForgottenDeployment,
  GatewayInvite,
  GatewayName,
  GatewayNames,
  GatewayPublisher,
  GatewayPublishers,
  GatewayRoute,
  GatewayRoutes,
  GatewayStatus,
  GatewayWorker,
  KeyRotation,
  RotateKeyRequest,
} from './schema/gateway.ts';
export type { CertificateFailure, GatewayCertificate, GatewayCertificates } from './schema/gateway-certificates.ts';
export type {
  ConfigReload,
  GatewayAudit,
  GatewayAuditCheck,
  GatewayAuditLine,
  GatewaySnapshot,
  GatewaySuspension,
  Resumed,
  ResumeRequest,
  StopRequest,
  SuspendRequest,
} from './schema/gateway-operator.ts';
export { type ChangedName, type ChangeNameRequest } from './schema/gateway-names.ts';
export type {
  Explanation,
  Exposed,
  ExposeRequest,
  Forward,
  ForwardRequest,
  HostsAnswer,
  Joined,
  JoinRequest,
  LinkStatus,
  NodeStatus,
  Pinged,
  PingRequest,
  UnexposeRequest,
} from './schema/node.ts';
export type {
  OwnerChallenge,
  OwnerChallengeRequest,
  OwnerSession,
  OwnerSessionRequest,
  ProposalDetail,
  ProposalList,
  ProposalPut,
  ProposalStatus,
  PutProposalRequest,
} from './schema/owner.ts';
export type { CallInput, CallOptions } from './unix-client.ts';
export type { MemberCertificate, MemberCertificates } from './schema/member-certificates.ts';
export type { WireguardPeer, WireguardStatus, WireguardUpRequest } from './schema/wireguard.ts';
export type { NetcheckReport } from './schema/netcheck.ts';
export type { PlanePath } from './schema/plane-path.ts';
