/**
 * An agent without a network: the real local API on a Unix socket, real contracts, one machine. It takes
 * versions by the real rules and remembers what it was asked.
 */
import {
  agentEndpoints,
  createApp,
  type AgentEndpoints,
  type DeploymentDetail,
  type Forward,
  type FreshnessStatus,
  type NetcheckReport,
  type ServiceStatus,
  type Handlers,
  type ProposalStatus,
  type VersionAccepted,
  type WireguardStatus,
  type WireguardUpRequest,
} from '@moat/admin-api';
import {
  buildView,
  checkNextVersion,
  checkProposal,
  deploymentIdOf,
  extendProof,
  headHash,
  may,
  mergeProposals,
  parseContract,
  parseGenesis,
  parseProposal,
  parseSignedHead,
  proposalId,
  proposalStanding,
  resolveMembers,
  resolvePlaces,
  sealedContract,
  type Contract,
  type Genesis,
  type HeadProof,
  type MemberClaim,
  type Proposal,
  type SignedHead,
} from '@moat/contract';
import { MoatError } from '@moat/core';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { serviceStatuses } from './service-status.ts';
import { netcheckReport, wireguardStatus } from './wireguard-status.ts';

const SINCE = '2026-11-20T10:00:00.000Z';

interface Held {
  readonly genesis: Genesis;
  contract: Contract;
  proof: HeadProof;
  /** Every version taken, by its number. */
  readonly history: readonly { readonly contract: Contract; readonly signed: SignedHead }[];
}

export class FakeAgent implements AsyncDisposable {
  readonly wireguardRequests: WireguardUpRequest[] = [];
  readonly key: NodeKey = createNodeKey();
  readonly held: Map<string, Held> = new Map();
  /** What every deployment is told with. */
  claims: readonly MemberClaim[] = [];
  /** Proposals by id. */
  readonly waiting: Map<string, Proposal> = new Map();
  readonly exposed: { deployment: string; target: string; public: boolean }[] = [];
  readonly forwards: Forward[] = [];
  /** Every request so far, as `GET /v1/status`. */
  readonly requests: string[] = [];
  /** Bodies of joins. */
  readonly joins: unknown[] = [];
  /** What the next submitted version is answered with. */
  refuseNext: MoatError | undefined;
  /** How anchors and the router see this machine, where it is not as usual. */
  netcheck: Partial<NetcheckReport> = {};
  /** How each service looks from this machine, where it is not as usual. */
  serviceHere: Partial<ServiceStatus> = {};
  freshness: FreshnessStatus = { ageMs: 0, maxStaleMs: null, state: 'fresh' };
  readonly #server: Server;

  private constructor() {
    const app = createApp(agentEndpoints, this.#handlers(), {
      title: 'fake agent',
      version: '0',
      onUnexpected: (error) => console.error(error),
    });
    this.#server = createServer((request, response) => {
      this.requests.push(`${request.method} ${request.url}`);
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        void (async () => {
          const answer = await (
            await app
          ).fetch(
            new Request(`http://localhost${request.url}`, {
              method: request.method ?? 'GET',
              headers: { 'content-type': request.headers['content-type'] ?? 'text/plain' },
              ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
            }),
          );
          response.writeHead(answer.status, { 'content-type': 'application/json' });
          response.end(await answer.text());
        })();
      });
    });
  }

  /** Listens on the socket that a client with this home asks. */
  static async start(home: string): Promise<FakeAgent> {
    const agent = new FakeAgent();
    mkdirSync(home, { recursive: true });
    agent.#server.listen(join(home, 'agent.sock'));
    await once(agent.#server, 'listening');
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #pings = 0;
  readonly warnings: { code: string; message: string }[] = [];

  #handlers(): Handlers<AgentEndpoints> {
    return {
      status: () => ({
        peerId: this.key.peerId,
        pid: 1,
        agentVersion: '0',
        startedAt: SINCE,
        uptimeMs: 11_520_000,
        stateDir: '/state',
        addresses: [`/ip4/127.0.0.1/tcp/4410/p2p/${this.key.peerId}`],
        linkPort: 4411,
        socks: { host: '127.0.0.1', port: 4412 },
        proxyPasswordFile: null,
        dns: null,
        access: 'loopback',
        anchor: false,
        mdns: false,
        connections: 0,
        rssBytes: 100 * 1024 * 1024,
        links: [],
        deployments: this.#details(),
        warnings: this.warnings,
      }),
      deployments: () => ({ deployments: this.#details() }),
      deployment: ({ params }) => this.#detail(this.#find(params['deployment'] ?? '')),
      held: ({ params }) => this.#detail(this.#find(params['deployment'] ?? '')),
      version: ({ params }) => {
        const stored = this.#find(params['deployment'] ?? '').history[Number(params['version'])];
        if (stored === undefined) throw new MoatError('VERSION_UNKNOWN', 'no such version');
        const { contract, signed } = stored;
        return { version: contract.version, contract: { ...contract }, signed: { ...signed }, acceptedAt: SINCE };
      },
      createDeployment: ({ body }) => {
        const genesis = parseGenesis(body.genesis);
        return this.#take(genesis, null, body);
      },
      submitVersion: ({ params, body }) => {
        const current = this.#find(params['deployment'] ?? '');
        return this.#take(current.genesis, current, body);
      },
      ownerChallenge: () => this.#unsupported(),
      openOwnerSession: () => this.#unsupported(),
      closeOwnerSession: () => this.#unsupported(),
      proposals: ({ params }) => ({
        keeper: this.key.peerId,
        proposals: this.#waiting(params['deployment'] ?? '').map((one) => this.#statusOf(one)),
      }),
      proposal: ({ params }) => {
        const found = this.#waiting(params['deployment'] ?? '').find((one) => proposalId(one) === params['proposal']);
        if (found === undefined) throw new MoatError('PROPOSAL_UNKNOWN', 'no such proposal');
        return { ...this.#statusOf(found), proposal: { ...found } };
      },
      putProposal: ({ params, body }) => {
        const held = this.#find(params['deployment'] ?? '');
        const offered = parseProposal(body.proposal);
        checkProposal({ contract: held.contract, head: held.proof.newest.head }, held.genesis, offered);
        const id = proposalId(offered);
        const known = this.waiting.get(id) ?? offered;
        const proposal = mergeProposals(known, offered, { contract: held.contract, head: held.proof.newest.head });
        this.waiting.set(id, proposal);
        const status = this.#statusOf(proposal);
        if (status.state !== 'met') return { proposal: status, changed: true, applied: null };
        const { contract, head, signatures, seal } = proposal;
        const applied = this.#take(held.genesis, held, { contract, signed: { head, signatures }, seal });
        return { proposal: status, changed: true, applied };
      },
      applyProposal: () => this.#unsupported(),
      forget: ({ params }) => {
        this.held.delete(params['deployment'] ?? '');
        return { done: true };
      },
      join: ({ body }) => {
        this.joins.push(body);
        return { deployment: 'a'.repeat(26), name: 'shop', member: 'db-1', version: 1, keeper: this.key.peerId };
      },
      exposed: () => ({ exposed: this.exposed }),
      expose: ({ body }) => {
        const exposed = { deployment: body.deployment, target: body.target, public: body.public ?? false };
        this.exposed.push(exposed);
        return exposed;
      },
      holdExposed: () => this.#unsupported(),
      unexpose: ({ body }) => {
        const index = this.exposed.findIndex(({ target }) => target === body.target);
        if (index < 0) throw new MoatError('EXPOSED_UNKNOWN', `${body.target} is not exposed`);
        this.exposed.splice(index, 1);
        return { done: true };
      },
      forwards: () => ({ forwards: this.forwards }),
      addForward: ({ body }) => {
        const id = String(this.forwards.length);
        const forward = { id, deployment: body.deployment, service: body.service, local: '127.0.0.1:7001' };
        this.forwards.push(forward);
        return forward;
      },
      removeForward: ({ params }) => {
        this.forwards.splice(Number(params['forward']), 1);
        return { done: true };
      },
      explain: ({ params, query }) => {
        const { contract } = this.#find(params['deployment'] ?? '');
        const view = buildView(contract, [], Date.now());
        const { from: asked = '', to = '' } = query;
        const [machine] = resolveMembers(contract, view.services.get(asked)?.on ?? [`tag:${asked}`]);
        const from = view.places.has(asked) ? asked : machine?.name;
        if (from === undefined) throw new MoatError('MEMBER_UNKNOWN', `no member ${asked}`);
        if (!view.services.has(to)) throw new MoatError('SERVICE_UNKNOWN', `no service ${to}`);
        const access = may(view, from, to, Date.now());
        return {
          deployment: contract.deployment,
          version: contract.version,
          from,
          to,
          allowed: access.allowed,
          works: null,
          code: access.allowed ? null : access.code,
          reason: access.reason,
          grant: access.allowed ? access.grant : null,
          path: access.allowed ? 'direct' : null,
          pathReason: 'the machines reach each other',
          next: [],
        };
      },
      ping: ({ body }) => {
        if (body.target === 'nobody') throw new MoatError('PEER_UNREACHABLE', 'no way to nobody', { retryable: true });
        const answer = { member: 'db-1', peer: this.key.peerId, rttMs: 1.25 };
        const isDirect = body.target !== 'far' && (body.target !== 'near' || this.#pings++ > 0);
        return isDirect
          ? { ...answer, path: 'direct', pathReason: 'connected directly' }
          : { ...answer, path: 'relayed', pathReason: 'no direct way to db-1 (192.0.2.7:4410 refused)' };
      },
      publications: () => ({ publications: this.#details().flatMap(({ publications }) => publications) }),
      redeem: () => this.#unsupported(),
      wireguard: ({ params }) => this.#wireguard(params['deployment']),
      wireguardRotateKey: ({ params }) => this.#wireguard(params['deployment']),
      wireguardUp: ({ params, body }) => {
        this.wireguardRequests.push(body);
        return this.#wireguard(params['deployment']);
      },
      wireguardDown: () => ({ done: true }),
      netcheck: ({ params }) => {
        const { contract } = this.#find(params['deployment'] ?? '');
        return { ...netcheckReport(contract.deployment, contract.name), ...this.netcheck };
      },
      findInDirectory: () => this.#unsupported(),
      announce: () => this.#unsupported(),
      hosts: ({ params }) => {
        const { contract } = this.#find(params['deployment'] ?? '');
        return {
          deployment: contract.deployment,
          network: contract.name,
          hosts: contract.services.map(({ name, port }, i) => ({
            name: `${name}.${contract.name}.internal`,
            service: name,
            address: `127.9.9.${i + 1}`,
            port,
          })),
          socks: { host: '127.0.0.1', port: 4412 },
          proxyPasswordFile: null,
          netns: null,
          nameServer: null,
        };
      },
      branches: () => this.#unsupported(),
      certificates: () => ({ certificates: [] }),
      signIn: ({ body }) => ({ signed: { signIn: { ...body } } }),
      rotateKey: () => ({
        current: this.key.peerId,
        next: createNodeKey().peerId,
        places: [...this.held.values()].map(({ contract: { deployment, name } }) => ({
          deployment,
          name,
          member: 'db-1',
        })),
      }),
      events: () => this.#unsupported(),
      stop: () => ({ done: true }),
    };
  }

  #take(
    genesis: Genesis,
    current: Held | null,
    body: { readonly contract: object; readonly signed: object; readonly seal?: object | undefined },
  ): VersionAccepted {
    const refusal = this.refuseNext;
    this.refuseNext = undefined;
    if (refusal !== undefined) throw refusal;
    const contract = parseContract(body.contract);
    const signed = parseSignedHead(body.signed);
    const before = current === null ? null : { contract: current.contract, head: current.proof.newest.head };
    checkNextVersion(before, genesis, { contract, signed });
    const proof = extendProof(current?.proof ?? null, genesis, signed, contract.owners);
    const history = [...(current?.history ?? []), { contract, signed }];
    const held = { genesis, contract, proof, history };
    this.held.set(deploymentIdOf(genesis), held);
    for (const { head } of this.#waiting(contract.deployment)) {
      if (head.previous !== headHash(signed.head)) this.waiting.delete(headHash(head));
    }
    if (body.seal !== undefined) {
      return this.#take(genesis, held, { contract: sealedContract(contract), signed: body.seal });
    }
    const { deployment, name, version } = contract;
    return { deployment, name, version, head: headHash(signed.head), changed: true, keeper: null };
  }

  #waiting(wanted: string): Proposal[] {
    const { contract } = this.#find(wanted);
    return [...this.waiting.values()].filter((one) => one.contract.deployment === contract.deployment);
  }

  #statusOf(proposal: Proposal): ProposalStatus {
    const { contract, proof } = this.#find(proposal.contract.deployment);
    const isStale = proposal.head.previous !== headHash(proof.newest.head);
    const standing = proposalStanding(proposal, { contract, head: proof.newest.head });
    return {
      id: proposalId(proposal),
      version: proposal.head.version,
      previous: proposal.head.previous ?? '',
      state: isStale ? 'stale' : standing.met ? 'met' : 'open',
      signers: standing.signers,
      missing: standing.missing,
      weight: standing.weight,
      threshold: standing.threshold,
      newOwners: standing.newOwners ?? null,
      bytes: 1000,
      receivedAt: SINCE,
    };
  }

  #find(wanted: string): Held {
    const found = [...this.held.values()].find(({ contract }) => [contract.deployment, contract.name].includes(wanted));
    if (found === undefined) throw new MoatError('DEPLOYMENT_UNKNOWN', `no deployment ${wanted}`);
    return found;
  }

  #details(): DeploymentDetail[] {
    return [...this.held.values()].map((held) => this.#detail(held));
  }

  #detail({ contract, proof }: Held): DeploymentDetail {
    const self = contract.members.find(({ node }) => node === this.key.peerId)?.name ?? null;
    return {
      id: contract.deployment,
      name: contract.name,
      version: contract.version,
      head: headHash(proof.newest.head),
      state: contract.state,
      member: self,
      keeper: self !== null,
      acceptedAt: SINCE,
      freshness: this.freshness,
      alarms: [],
      contract: { ...contract },
      proof: { ...proof },
      claims: this.claims.map((claim) => ({ ...claim })),
      places: resolvePlaces(contract, this.claims, Date.now()).map((place) => ({
        name: place.name,
        tags: place.tags,
        ipv4: place.ipv4,
        keeper: place.keeper,
        peer: place.peer,
        state: place.state,
        self: place.name === self,
        connected: false,
        path: null,
        pathReason: null,
        rttMs: null,
      })),
      services: serviceStatuses(contract, this.serviceHere),
      publications: contract.publish.map((line) => ({
        deployment: contract.deployment,
        name: line.name,
        service: line.service,
        gateway: line.gateway.domain,
        peer: this.key.peerId,
        state: 'live',
        host: `${line.name}.${line.gateway.domain}`,
        url: `https://${line.name}.${line.gateway.domain}:1`,
        version: contract.version,
        error: null,
        since: SINCE,
      })),
      receipts: [
        {
          version: contract.version,
          head: headHash(proof.newest.head),
          result: 'applied',
          code: null,
          message: null,
          time: SINCE,
        },
      ],
      memberReceipts: [],
      keepers: [`/ip4/127.0.0.1/tcp/4410/p2p/${this.key.peerId}`],
      anchors: contract.anchors,
    };
  }

  #wireguard(deployment = ''): WireguardStatus {
    const { contract } = this.#find(deployment);
    return wireguardStatus(contract.deployment, contract.name);
  }

  #unsupported(): never {
    throw new MoatError('NOT_SUPPORTED_YET', 'the fake agent cannot do this');
  }
}
