/** The local API of an agent, version 1. `{deployment}` is an id, or a name that only one deployment has. */
import { z } from 'zod';
import { endpoint, type Endpoint } from './endpoint.ts';
import { doneSchema, type Done } from './schema/answer.ts';
import { branchesSchema, type Branches } from './schema/branch.ts';
import { rotationSchema, type Rotation } from './schema/rotation.ts';
import {
  createDeploymentRequestSchema,
  deploymentDetailSchema,
  deploymentHeldSchema,
  deploymentSummarySchema,
  publicationStatusSchema,
  storedVersionSchema,
  submitVersionRequestSchema,
  versionAcceptedSchema,
  type CreateDeploymentRequest,
  type DeploymentDetail,
  type DeploymentHeld,
  type DeploymentSummary,
  type PublicationStatus,
  type StoredVersion,
  type SubmitVersionRequest,
  type VersionAccepted,
} from './schema/deployment.ts';
import {
  announceRequestSchema,
  announcedSchema,
  findRequestSchema,
  foundSchema,
  type AnnounceRequest,
  type Announced,
  type FindRequest,
  type Found,
} from './schema/directory.ts';
import { agentEventSchema, type AgentEvent } from './schema/event.ts';
import { memberCertificatesSchema, type MemberCertificates } from './schema/member-certificates.ts';
import { redeemRequestSchema, type RedeemRequest } from './schema/gateway-code.ts';
import {
  explanationSchema,
  exposedSchema,
  exposeRequestSchema,
  forwardRequestSchema,
  forwardSchema,
  hostsAnswerSchema,
  joinedSchema,
  joinRequestSchema,
  nodeStatusSchema,
  pingedSchema,
  pingRequestSchema,
  unexposeRequestSchema,
  type Explanation,
  type Exposed,
  type ExposeRequest,
  type Forward,
  type ForwardRequest,
  type HostsAnswer,
  type Joined,
  type JoinRequest,
  type NodeStatus,
  type Pinged,
  type PingRequest,
  type UnexposeRequest,
} from './schema/node.ts';

import {
  ownerChallengeRequestSchema,
  ownerChallengeSchema,
  ownerSessionRequestSchema,
  ownerSessionSchema,
  proposalDetailSchema,
  proposalListSchema,
  proposalPutSchema,
  putProposalRequestSchema,
  type OwnerChallenge,
  type OwnerChallengeRequest,
  type OwnerSession,
  type OwnerSessionRequest,
  type ProposalDetail,
  type ProposalList,
  type ProposalPut,
  type PutProposalRequest,
} from './schema/owner.ts';
import { netcheckReportSchema, type NetcheckReport } from './schema/netcheck.ts';
import {
  wireguardStatusSchema,
  wireguardUpRequestSchema,
  type WireguardStatus,
  type WireguardUpRequest,
} from './schema/wireguard.ts';
import { signInRequestSchema, signInSignedSchema, type SignInRequest, type SignInSigned } from './schema/sign-in.ts';

const deploymentsSchema: z.ZodType<{ readonly deployments: readonly DeploymentSummary[] }> = z.object({
  deployments: z.array(deploymentSummarySchema),
});
const exposedListSchema: z.ZodType<{ readonly exposed: readonly Exposed[] }> = z.object({
  exposed: z.array(exposedSchema),
});
const forwardsSchema: z.ZodType<{ readonly forwards: readonly Forward[] }> = z.object({
  forwards: z.array(forwardSchema),
});
const publicationsSchema: z.ZodType<{ readonly publications: readonly PublicationStatus[] }> = z.object({
  publications: z.array(publicationStatusSchema),
});

/** Every endpoint by name. */
export interface AgentEndpoints {
  readonly status: Endpoint<null, NodeStatus>;
  readonly deployments: Endpoint<null, { readonly deployments: readonly DeploymentSummary[] }>;
  readonly deployment: Endpoint<null, DeploymentDetail>;
  readonly held: Endpoint<null, DeploymentHeld>;
  readonly version: Endpoint<null, StoredVersion>;
  readonly branches: Endpoint<null, Branches>;
  readonly createDeployment: Endpoint<CreateDeploymentRequest, VersionAccepted>;
  readonly submitVersion: Endpoint<SubmitVersionRequest, VersionAccepted>;
  readonly ownerChallenge: Endpoint<OwnerChallengeRequest, OwnerChallenge>;
  readonly openOwnerSession: Endpoint<OwnerSessionRequest, OwnerSession>;
  readonly closeOwnerSession: Endpoint<null, Done>;
  readonly proposals: Endpoint<null, ProposalList>;
  readonly proposal: Endpoint<null, ProposalDetail>;
  readonly putProposal: Endpoint<PutProposalRequest, ProposalPut>;
  readonly applyProposal: Endpoint<null, VersionAccepted>;
  readonly forget: Endpoint<null, Done>;
  readonly join: Endpoint<JoinRequest, Joined>;
  readonly exposed: Endpoint<null, { readonly exposed: readonly Exposed[] }>;
  readonly expose: Endpoint<ExposeRequest, Exposed>;
  readonly holdExposed: Endpoint<null, Exposed>;
  readonly unexpose: Endpoint<UnexposeRequest, Done>;
  readonly forwards: Endpoint<null, { readonly forwards: readonly Forward[] }>;
  readonly addForward: Endpoint<ForwardRequest, Forward>;
  readonly removeForward: Endpoint<null, Done>;
  readonly explain: Endpoint<null, Explanation>;
  readonly ping: Endpoint<PingRequest, Pinged>;
  readonly certificates: Endpoint<null, MemberCertificates>;
  readonly publications: Endpoint<null, { readonly publications: readonly PublicationStatus[] }>;
  readonly redeem: Endpoint<RedeemRequest, Done>;
  readonly hosts: Endpoint<null, HostsAnswer>;
  readonly signIn: Endpoint<SignInRequest, SignInSigned>;
  readonly events: Endpoint<null, AgentEvent>;
  readonly rotateKey: Endpoint<null, Rotation>;
  readonly wireguard: Endpoint<null, WireguardStatus>;
  readonly netcheck: Endpoint<null, NetcheckReport>;
  readonly wireguardUp: Endpoint<WireguardUpRequest, WireguardStatus>;
  readonly wireguardDown: Endpoint<null, Done>;
  readonly wireguardRotateKey: Endpoint<null, WireguardStatus>;
  readonly findInDirectory: Endpoint<FindRequest, Found>;
  readonly announce: Endpoint<AnnounceRequest, Announced>;
  readonly stop: Endpoint<null, Done>;
}

const ONE = '/v1/deployments/{deployment}';

export const agentEndpoints: AgentEndpoints = {
  status: endpoint('get', '/v1/status', 'The agent as a whole', nodeStatusSchema),
  deployments: endpoint('get', '/v1/deployments', 'Every deployment this machine holds', deploymentsSchema),
  deployment: endpoint('get', ONE, 'One deployment: contract, claims, places, services, paths', deploymentDetailSchema),
  held: endpoint(
    'get',
    `${ONE}/held`,
    'One deployment as it was signed: contract, proof, claims',
    deploymentHeldSchema,
  ),
  version: endpoint('get', `${ONE}/versions/{version}`, 'One stored version', storedVersionSchema),
  branches: endpoint(
    'get',
    `${ONE}/branches`,
    'Both histories of a fork, to write the version that ends it',
    branchesSchema,
  ),
  createDeployment: endpoint('post', '/v1/deployments', 'Takes version 0 of a new deployment', versionAcceptedSchema, {
    body: createDeploymentRequestSchema,
  }),
  submitVersion: endpoint('post', `${ONE}/versions`, 'Takes the next version', versionAcceptedSchema, {
    body: submitVersionRequestSchema,
  }),
  ownerChallenge: endpoint(
    'post',
    '/v1/owner/challenges',
    'Dials a keeper and says what an owner has to sign for it',
    ownerChallengeSchema,
    { body: ownerChallengeRequestSchema },
  ),
  openOwnerSession: endpoint(
    'post',
    '/v1/owner/sessions',
    'Shows the signed proof to that keeper and pulls the deployment',
    ownerSessionSchema,
    { body: ownerSessionRequestSchema },
  ),
  closeOwnerSession: endpoint('delete', '/v1/owner/sessions/{session}', 'Ends an owner session', doneSchema),
  proposals: endpoint('get', `${ONE}/proposals`, 'Proposals that wait at a keeper', proposalListSchema),
  proposal: endpoint('get', `${ONE}/proposals/{proposal}`, 'One proposal, whole', proposalDetailSchema),
  putProposal: endpoint(
    'post',
    `${ONE}/proposals`,
    'Leaves a proposal or more signatures at the keepers; applied once a quorum has signed',
    proposalPutSchema,
    { body: putProposalRequestSchema },
  ),
  applyProposal: endpoint(
    'post',
    `${ONE}/proposals/{proposal}/apply`,
    'Applies a proposal that a quorum has signed',
    versionAcceptedSchema,
  ),
  forget: endpoint('delete', ONE, 'Leaves a deployment: stops it and deletes its data here', doneSchema),
  join: endpoint('post', '/v1/join', 'Takes a place by a token', joinedSchema, { body: joinRequestSchema }),
  exposed: endpoint('get', '/v1/exposed', 'What the operator exposed', exposedListSchema),
  expose: endpoint('post', '/v1/exposed', 'Exposes a local target to a deployment', exposedSchema, {
    body: exposeRequestSchema,
  }),
  holdExposed: endpoint(
    'post',
    '/v1/exposed/hold',
    'Exposes a local target for as long as this answer is read: one line, then silence; public is true or false',
    exposedSchema,
    { query: ['deployment', 'target', 'public'], stream: true },
  ),
  unexpose: endpoint('delete', '/v1/exposed', 'Takes the consent back', doneSchema, { body: unexposeRequestSchema }),
  forwards: endpoint('get', '/v1/forwards', 'Every forward', forwardsSchema),
  addForward: endpoint('post', '/v1/forwards', 'Opens a local listener that leads to a service', forwardSchema, {
    body: forwardRequestSchema,
  }),
  removeForward: endpoint('delete', '/v1/forwards/{forward}', 'Closes a forward', doneSchema),
  explain: endpoint('get', `${ONE}/explain`, 'May FROM reach TO, and how', explanationSchema, {
    query: ['from', 'to'],
  }),
  ping: endpoint('post', `${ONE}/ping`, 'Round trip to a member or a service', pingedSchema, {
    body: pingRequestSchema,
  }),
  certificates: endpoint('get', '/v1/certificates', 'Certificates for names passed through', memberCertificatesSchema),
  publications: endpoint('get', '/v1/publications', 'Every publication and its address', publicationsSchema),
  redeem: endpoint('post', '/v1/gateway-codes', 'Spends a gateway’s invite code on a deployment', doneSchema, {
    body: redeemRequestSchema,
  }),
  hosts: endpoint('get', `${ONE}/hosts`, 'Names and addresses for a program', hostsAnswerSchema),
  signIn: endpoint(
    'post',
    '/v1/sign-in',
    'Signs what a public name asked, with this machine’s key',
    signInSignedSchema,
    {
      body: signInRequestSchema,
    },
  ),
  events: endpoint('get', '/v1/events', 'What happens, one JSON a line', agentEventSchema, { stream: true }),
  rotateKey: endpoint(
    'post',
    '/v1/node/next-key',
    'Makes the next key of this machine, or shows the one that waits',
    rotationSchema,
  ),
  wireguard: endpoint('get', `${ONE}/wireguard`, 'The WireGuard interface of a network here', wireguardStatusSchema),
  netcheck: endpoint(
    'get',
    `${ONE}/netcheck`,
    'How anchors and the router see the WireGuard interface',
    netcheckReportSchema,
  ),
  wireguardUp: endpoint(
    'post',
    `${ONE}/wireguard`,
    'Gives a network an interface, now and after restarts',
    wireguardStatusSchema,
    {
      body: wireguardUpRequestSchema,
    },
  ),
  wireguardDown: endpoint('delete', `${ONE}/wireguard`, 'Takes the interface away', doneSchema),
  wireguardRotateKey: endpoint(
    'post',
    `${ONE}/wireguard/next-key`,
    'Makes the next WireGuard key of this place, or shows the one that waits',
    wireguardStatusSchema,
  ),
  findInDirectory: endpoint('post', '/v1/directory/find', 'Asks anchors who wishes to be found', foundSchema, {
    body: findRequestSchema,
  }),
  announce: endpoint('post', '/v1/directory', 'Has anchors take a signed entry into the directory', announcedSchema, {
    body: announceRequestSchema,
  }),
  stop: endpoint('post', '/v1/stop', 'Stops the agent in order', doneSchema),
};
