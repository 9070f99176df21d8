/** A world of real agents in this process, on loopback and port 0, and an owner who writes contracts for them. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  MoatError,
  formatKey,
  signerFromKey,
  silentLogger,
  systemClock,
  toBase64url,
  type Clock,
  type Logger,
  type Signer,
  type Tunnels,
} from '@moat/core';
import { generateKeyPairSync } from 'node:crypto';
import {
  createGenesis,
  createInvite,
  deploymentIdOf,
  encodeToken,
  headHash,
  headOf,
  ownerSetOf,
  parseContract,
  parseHeadProof,
  signHead,
  type Contract,
  type Genesis,
  type Member,
  type SignedHead,
  type Token,
} from '@moat/contract';
import { createAgentClient, type AgentClient, type DeploymentDetail } from '@moat/admin-api';
import { createNode, loadNodeConfig, type MoatNode, type NodeConfigInput } from '../src/index.ts';

export interface AgentOptions {
  readonly logger?: Logger;
  readonly flags?: NodeConfigInput;
  readonly clock?: Clock;
  /** WireGuard interfaces of the machine. @defaultValue none can be had */
  readonly tunnels?: Tunnels;
}

/** One machine; its state stays when the agent stops. */
export class Agent implements AsyncDisposable {
  readonly stateDir: string;
  readonly client: AgentClient;
  /** Settles when the agent is back from the restart that it asked for last. */
  restarted: Promise<void> = Promise.resolve();
  readonly #options: AgentOptions;
  #node: MoatNode | undefined;

  private constructor(stateDir: string, options: AgentOptions) {
    this.stateDir = stateDir;
    this.#options = options;
    this.client = createAgentClient({ socketPath: join(stateDir, 'agent.sock') });
  }

  static async start(options: AgentOptions = {}): Promise<Agent> {
    const agent = new Agent(await mkdtemp(join(tmpdir(), 'moat-node-')), options);
    await agent.start();
    return agent;
  }

  async start(flags: NodeConfigInput = {}): Promise<void> {
    const config = await loadNodeConfig({
      env: {},
      files: [],
      flags: {
        stateDir: this.stateDir,
        listen: ['/ip4/127.0.0.1/tcp/0'],
        linkPort: 0,
        linkHost: '127.0.0.1',
        socksPort: 0,
        mdns: false,
        ...this.#options.flags,
        ...flags,
      },
    });
    const logger = this.#options.logger ?? silentLogger;
    const { clock = systemClock } = this.#options;
    const onRestartRequest = (): void => {
      this.restarted = this.stop().then(() => this.start(flags));
    };
    const { tunnels } = this.#options;
    const openTunnels = (): Promise<Tunnels> =>
      tunnels === undefined
        ? Promise.reject(new MoatError('TUNNEL_TOOL_MISSING', 'not here'))
        : Promise.resolve(tunnels);
    // Nobody outside is asked for anything.
    const router = (): Promise<null> => Promise.resolve(null);
    const node = createNode({ logger, clock, onRestartRequest, openTunnels, router }, config);
    await node.start({ signal: AbortSignal.timeout(10_000) });
    this.#node = node;
  }

  async stop(): Promise<void> {
    await this.#node?.stop();
    this.#node = undefined;
  }

  async peerId(): Promise<string> {
    return (await this.client.status()).peerId;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.stateDir, { recursive: true, force: true });
  }
}

/** What a test varies of a contract. */
export type Draft = Partial<Omit<Contract, 'type' | 'deployment' | 'version' | 'owners'>>;

export function createOwner(): Signer {
  return signerFromKey(generateKeyPairSync('ed25519').privateKey);
}

/** An owner with one key and one deployment, applied at `agent`. */
export class Owner {
  readonly signer: Signer = createOwner();
  readonly agent: Agent;
  readonly genesis: Genesis;
  contract!: Contract;
  signed: SignedHead | undefined;
  readonly history: { readonly contract: Contract; readonly signed: SignedHead }[] = [];

  constructor(agent: Agent) {
    this.agent = agent;
    this.genesis = createGenesis(ownerSetOf(this.owners), randomBytes(16));
  }

  get owners(): Contract['owners'] {
    return { threshold: 1, keys: [{ name: 'ana', key: formatKey('ed25519', this.signer.publicKey), weight: 1 }] };
  }

  get deployment(): string {
    return deploymentIdOf(this.genesis);
  }

  /** The next version, signed and not shown to anybody. */
  write(draft: Draft, signers: readonly Signer[] = [this.signer]): { contract: Contract; signed: SignedHead } {
    const contract = parseContract({
      type: 'moat/contract/1',
      deployment: this.deployment,
      name: 'shop',
      anchors: [],
      network: { ipv4: '10.77.0.0/16', plane: 'rootless' },
      members: [],
      services: [],
      access: [],
      publish: [],
      state: 'active',
      ...(this.signed === undefined ? {} : this.contract),
      ...draft,
      version: this.signed === undefined ? 0 : this.contract.version + 1,
      owners: this.owners,
    });
    const head = headOf(contract, this.signed === undefined ? null : headHash(this.signed.head));
    return { contract, signed: { head, signatures: signers.map((signer) => signHead(head, signer)) } };
  }

  /** Writes the next version and applies it at the owner's agent. */
  async apply(draft: Draft): Promise<void> {
    const isFirst = this.signed === undefined;
    const { contract, signed } = this.write(draft);
    if (isFirst) {
      await this.agent.client.createDeployment({
        genesis: { ...this.genesis },
        contract: { ...contract },
        signed: { ...signed },
      });
    } else {
      await this.agent.client.submitVersion(this.deployment, { contract: { ...contract }, signed: { ...signed } });
    }
    this.contract = contract;
    this.signed = signed;
    this.history.push({ contract, signed });
  }

  /** A member pinned to an agent. */
  async pinned(name: string, host: number, agent: Agent, more: Partial<Member> = {}): Promise<Member> {
    return { name, node: await agent.peerId(), ipv4: `10.77.0.${host}`, tags: [], ...more };
  }

  /** A vacant place, and the text of its token once the version that has it is applied. */
  invited(
    name: string,
    host: number,
    more: Partial<Member> = {},
    ttlMs = 3_600_000,
  ): { member: Member; token: () => Promise<string> } {
    const seed = randomBytes(32);
    const expires = new Date(Date.now() + ttlMs).toISOString();
    const invite = { key: createInvite(seed).key, expires };
    const member = { name, ipv4: `10.77.0.${host}`, tags: [], invite, ...more };
    return { member, token: () => this.#token(seed, name) };
  }

  /** A token without a place, for pinned machines. */
  async locator(): Promise<string> {
    return encodeToken(await this.#tokenBase());
  }

  async #token(seed: Uint8Array, member: string): Promise<string> {
    return encodeToken({ ...(await this.#tokenBase()), seed: toBase64url(seed), member });
  }

  async #tokenBase(): Promise<Token> {
    const detail = await this.agent.client.deployment(this.deployment);
    const { head } = parseHeadProof(detail.proof).newest;
    return {
      deployment: this.deployment,
      version: head.version,
      head: headHash(head),
      keepers: detail.keepers,
      anchors: [],
    };
  }
}

/** A TCP service that sends back what it gets, after its name. */
export async function startEcho(
  greeting = '',
): Promise<{ readonly port: number; readonly connections: () => number } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    if (greeting !== '') socket.write(greeting);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    connections: () => sockets.size,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Sends `text`, ends, and returns everything that came back. */
export function exchange(
  to: { readonly host: string; readonly port: number } | { readonly path: string },
  text: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...to });
    let received = '';
    socket.setTimeout(8000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk: Buffer) => (received += chunk.toString()));
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
    socket.end(text);
  });
}

/** Asks until `condition` answers something other than undefined or false. */
export async function until<T>(
  what: string,
  condition: () => Promise<T | undefined | false>,
  timeoutMs = 10_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The loopback listener of a service at an agent, once there is one. */
export async function listenerOf(
  agent: Agent,
  deployment: string,
  service: string,
): Promise<{ host: string; port: number }> {
  return until(`listener of ${service}`, async () => {
    const detail: DeploymentDetail = await agent.client.deployment(deployment);
    return detail.services.find(({ name }) => name === service)?.local ?? undefined;
  });
}
