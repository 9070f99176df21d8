/** The agent's API as methods. */
import { agentEndpoints } from './agent-endpoints.ts';
import type { Branch } from './schema/branch.ts';
import type {
  CreateDeploymentRequest,
  DeploymentDetail,
  DeploymentHeld,
  DeploymentSummary,
  PublicationStatus,
  StoredVersion,
  SubmitVersionRequest,
  VersionAccepted,
} from './schema/deployment.ts';
import type { AgentEvent } from './schema/event.ts';
import type { Document } from './schema/answer.ts';
import type { Announced, FindRequest, Found } from './schema/directory.ts';
import type { RedeemRequest } from './schema/gateway-code.ts';
import type {
  Explanation,
  Exposed,
  ExposeRequest,
  Forward,
  ForwardRequest,
  HostsAnswer,
  Joined,
  JoinRequest,
  NodeStatus,
  Pinged,
  PingRequest,
  UnexposeRequest,
} from './schema/node.ts';
import type {
  OwnerChallenge,
  OwnerChallengeRequest,
  OwnerSession,
  OwnerSessionRequest,
  ProposalDetail,
  ProposalList,
  ProposalPut,
  PutProposalRequest,
} from './schema/owner.ts';
import type { MemberCertificate } from './schema/member-certificates.ts';
import type { Rotation } from './schema/rotation.ts';
import type { SignInRequest, SignInSigned } from './schema/sign-in.ts';
import type { NetcheckReport } from './schema/netcheck.ts';
import type { WireguardStatus, WireguardUpRequest } from './schema/wireguard.ts';
import { UnixClient, type CallOptions } from './unix-client.ts';

/** Milliseconds for what asks the keepers one after the other. */
const KEEPERS_MS = 60_000;

/**
 * Every method throws `AGENT_NOT_RUNNING`, `AGENT_TIMEOUT`, `AGENT_ANSWER_INVALID`, or the code the agent
 * answered with. `deployment` is an id, or a name that only one deployment has.
 */
export interface AgentClient {
  status(options?: CallOptions): Promise<NodeStatus>;
  deployments(options?: CallOptions): Promise<readonly DeploymentSummary[]>;
  deployment(deployment: string, options?: CallOptions): Promise<DeploymentDetail>;
  held(deployment: string, options?: CallOptions): Promise<DeploymentHeld>;
  version(deployment: string, version: number, options?: CallOptions): Promise<StoredVersion>;
  branches(deployment: string, options?: CallOptions): Promise<readonly Branch[]>;
  createDeployment(request: CreateDeploymentRequest, options?: CallOptions): Promise<VersionAccepted>;
  submitVersion(deployment: string, request: SubmitVersionRequest, options?: CallOptions): Promise<VersionAccepted>;
  ownerChallenge(request: OwnerChallengeRequest, options?: CallOptions): Promise<OwnerChallenge>;
  openOwnerSession(request: OwnerSessionRequest, options?: CallOptions): Promise<OwnerSession>;
  closeOwnerSession(session: string, options?: CallOptions): Promise<void>;
  proposals(deployment: string, options?: CallOptions): Promise<ProposalList>;
  /** `proposal` is its id, the hash of its head. */
  proposal(deployment: string, proposal: string, options?: CallOptions): Promise<ProposalDetail>;
  putProposal(deployment: string, request: PutProposalRequest, options?: CallOptions): Promise<ProposalPut>;
  applyProposal(deployment: string, proposal: string, options?: CallOptions): Promise<VersionAccepted>;
  forget(deployment: string, options?: CallOptions): Promise<void>;
  join(request: JoinRequest, options?: CallOptions): Promise<Joined>;
  exposed(options?: CallOptions): Promise<readonly Exposed[]>;
  expose(request: ExposeRequest, options?: CallOptions): Promise<Exposed>;
  /** In force from the first item until `signal` is aborted or this process ends. */
  holdExposed(request: Exposed, signal: AbortSignal): AsyncIterable<Exposed>;
  unexpose(request: UnexposeRequest, options?: CallOptions): Promise<void>;
  forwards(options?: CallOptions): Promise<readonly Forward[]>;
  addForward(request: ForwardRequest, options?: CallOptions): Promise<Forward>;
  removeForward(id: string, options?: CallOptions): Promise<void>;
  explain(deployment: string, from: string, to: string, options?: CallOptions): Promise<Explanation>;
  ping(deployment: string, request: PingRequest, options?: CallOptions): Promise<Pinged>;
  certificates(options?: CallOptions): Promise<readonly MemberCertificate[]>;
  publications(options?: CallOptions): Promise<readonly PublicationStatus[]>;
  redeem(request: RedeemRequest, options?: CallOptions): Promise<void>;
  hosts(deployment: string, options?: CallOptions): Promise<HostsAnswer>;
  /** Signs what a public name asked, with this machine's key. */
  signIn(request: SignInRequest, options?: CallOptions): Promise<SignInSigned>;
  /** What happens, until `signal` is aborted or the agent ends. */
  events(signal: AbortSignal): AsyncIterable<AgentEvent>;
  /** The same answer until the switch. */
  rotateKey(options?: CallOptions): Promise<Rotation>;
  wireguard(deployment: string, options?: CallOptions): Promise<WireguardStatus>;
  netcheck(deployment: string, options?: CallOptions): Promise<NetcheckReport>;
  /** Kept over restarts; asked for again, it changes namespace or port. */
  wireguardUp(deployment: string, request: WireguardUpRequest, options?: CallOptions): Promise<WireguardStatus>;
  wireguardDown(deployment: string, options?: CallOptions): Promise<void>;
  /** The same answer until the owners' next version. */
  wireguardRotateKey(deployment: string, options?: CallOptions): Promise<WireguardStatus>;
  findInDirectory(request: FindRequest, options?: CallOptions): Promise<Found>;
  announce(signed: Document, options?: CallOptions): Promise<Announced>;
  stop(options?: CallOptions): Promise<void>;
}

/** A client of the agent that listens on `socketPath` (`<state directory>/agent.sock`). */
export function createAgentClient(options: { readonly socketPath: string }): AgentClient {
  const client = new UnixClient({ ...options, who: 'the agent', startCommand: 'moat node run' });
  const on = agentEndpoints;
  return {
    status: (call) => client.call(on.status, {}, call),
    deployments: async (call) => (await client.call(on.deployments, {}, call)).deployments,
    deployment: (deployment, call) => client.call(on.deployment, { params: { deployment } }, call),
    held: (deployment, call) => client.call(on.held, { params: { deployment } }, call),
    version: (deployment, version, call) =>
      client.call(on.version, { params: { deployment, version: String(version) } }, call),
    branches: async (deployment, call) => (await client.call(on.branches, { params: { deployment } }, call)).branches,
    createDeployment: (body, call) => client.call(on.createDeployment, { body }, call),
    submitVersion: (deployment, body, call) =>
      client.call(on.submitVersion, { params: { deployment }, body }, { timeoutMs: KEEPERS_MS, ...call }),
    ownerChallenge: (body, call) => client.call(on.ownerChallenge, { body }, call),
    openOwnerSession: (body, call) => client.call(on.openOwnerSession, { body }, { timeoutMs: KEEPERS_MS, ...call }),
    closeOwnerSession: async (session, call) =>
      void (await client.call(on.closeOwnerSession, { params: { session } }, call)),
    proposals: (deployment, call) => client.call(on.proposals, { params: { deployment } }, call),
    proposal: (deployment, proposal, call) => client.call(on.proposal, { params: { deployment, proposal } }, call),
    putProposal: (deployment, body, call) =>
      client.call(on.putProposal, { params: { deployment }, body }, { timeoutMs: KEEPERS_MS, ...call }),
    applyProposal: (deployment, proposal, call) =>
      client.call(on.applyProposal, { params: { deployment, proposal } }, { timeoutMs: KEEPERS_MS, ...call }),
    forget: async (deployment, call) => void (await client.call(on.forget, { params: { deployment } }, call)),
    join: (body, call) => client.call(on.join, { body }, { timeoutMs: 30_000 + (body.waitMs ?? 0), ...call }),
    exposed: async (call) => (await client.call(on.exposed, {}, call)).exposed,
    expose: (body, call) => client.call(on.expose, { body }, call),
    holdExposed: ({ deployment, target, public: open }, signal) =>
      client.follow(on.holdExposed, signal, { query: { deployment, target, public: String(open) } }),
    unexpose: async (body, call) => void (await client.call(on.unexpose, { body }, call)),
    forwards: async (call) => (await client.call(on.forwards, {}, call)).forwards,
    addForward: (body, call) => client.call(on.addForward, { body }, call),
    removeForward: async (forward, call) => void (await client.call(on.removeForward, { params: { forward } }, call)),
    explain: (deployment, from, to, call) =>
      client.call(on.explain, { params: { deployment }, query: { from, to } }, call),
    ping: (deployment, body, call) =>
      client.call(
        on.ping,
        { params: { deployment }, body },
        { timeoutMs: (body.timeoutMs ?? 10_000) + 5_000, ...call },
      ),
    certificates: async (call) => (await client.call(on.certificates, {}, call)).certificates,
    publications: async (call) => (await client.call(on.publications, {}, call)).publications,
    redeem: async (body, call) => void (await client.call(on.redeem, { body }, call)),
    hosts: (deployment, call) => client.call(on.hosts, { params: { deployment } }, call),
    signIn: (body, call) => client.call(on.signIn, { body }, call),
    events: (signal) => client.follow(on.events, signal),
    rotateKey: (call) => client.call(on.rotateKey, {}, call),
    wireguard: (deployment, call) => client.call(on.wireguard, { params: { deployment } }, call),
    netcheck: (deployment, call) =>
      client.call(on.netcheck, { params: { deployment } }, { timeoutMs: KEEPERS_MS, ...call }),
    wireguardUp: (deployment, body, call) =>
      client.call(on.wireguardUp, { params: { deployment }, body }, { timeoutMs: KEEPERS_MS, ...call }),
    wireguardDown: async (deployment, call) =>
      void (await client.call(on.wireguardDown, { params: { deployment } }, { timeoutMs: KEEPERS_MS, ...call })),
    wireguardRotateKey: (deployment, call) =>
      client.call(on.wireguardRotateKey, { params: { deployment } }, { timeoutMs: KEEPERS_MS, ...call }),
    findInDirectory: (body, call) => client.call(on.findInDirectory, { body }, { timeoutMs: KEEPERS_MS, ...call }),
    announce: (signed, call) => client.call(on.announce, { body: { signed } }, { timeoutMs: KEEPERS_MS, ...call }),
    stop: async (call) => void (await client.call(on.stop, {}, call)),
  };
}
