/**
 * A small world of real processes: a gateway for `*.localhost` that is also the anchor, and machines of one deployment
 * that joined by token.
 * `grow` does what people do: key, file, apply, invite, join.
 */
import { readFile } from 'node:fs/promises';
import { createAgentClient, createGatewayClient, type AgentClient } from '@moat/admin-api';
import { stringify } from 'yaml';
import { freePort } from '@moat/testkit';
import { Browser } from './browser.ts';
import { Machine, READY_MS, eventually, type Daemon } from './machine.ts';

export interface MemberSpec {
  readonly tags?: readonly string[];
  readonly keeper?: boolean;
  /** Targets exposed on joining, `PORT` or `PORT,public`. */
  readonly expose?: readonly string[];
  /** When the membership ends, such as `1s`. */
  readonly expires?: string;
  /** False: no inbound port, as behind a NAT. @defaultValue true */
  readonly inbound?: boolean;
  /** How its agent listens and what it announces, instead of ports on loopback. */
  readonly flags?: readonly string[];
  /** False: the place stays vacant until a test fills it. @defaultValue true */
  readonly joins?: boolean;
}

export interface DeploymentSpec {
  readonly name: string;
  /** How members reach it. @defaultValue rootless */
  readonly plane?: 'auto' | 'wireguard' | 'rootless';
  /** Where the owner's agent, run with `--anchor`, lets others meet: a multiaddr. @defaultValue only the gateway, if there is one */
  readonly meetsAt?: string;
  /** Its IPv4 range. @defaultValue the default of moat.yaml */
  readonly ipv4?: string;
  readonly members: Readonly<Record<string, MemberSpec>>;
  readonly services: Readonly<Record<string, object>>;
  readonly access?: readonly object[];
  /** Name to service, published at the world's gateway. */
  readonly publish?: Readonly<Record<string, string>>;
  /** Publish entries as moat.yaml has them, for gateways outside this world. */
  readonly extraPublish?: Readonly<Record<string, object>>;
}

interface GatewayProcess {
  readonly machine: Machine;
  daemon: Daemon;
  readonly port: number;
  readonly pin: { readonly domain: string; readonly peers: readonly string[] };
  readonly browser: Browser;
}

/** MOAT_E2E_WORKERS=2 gives every gateway workers. */
const WORKERS = process.env['MOAT_E2E_WORKERS'];

/** Where machines stand, when not all on loopback. */
export interface WorldOptions {
  readonly namespaceOf?: (machine: string) => string | undefined;
  /** Address the gateway listens on. @defaultValue 127.0.0.1 */
  readonly gatewayAddress?: string;
  /** PEM that clients trust, where the gateway is not its own authority. */
  readonly caFile?: string;
}

/** Everything is stopped and removed with the world. */
export class World implements AsyncDisposable {
  readonly machines = new Map<string, Machine>();
  readonly agents = new Map<string, Daemon>();
  readonly #ports = new Map<string, readonly [number, number]>();
  readonly #ownFlags = new Map<string, readonly string[]>();
  #gateway: GatewayProcess | undefined;
  #spec: DeploymentSpec | undefined;
  readonly #options: WorldOptions;

  constructor(options: WorldOptions = {}) {
    this.#options = options;
  }

  get gateway(): GatewayProcess {
    if (!this.#gateway) throw new Error('this world has no gateway');
    return this.#gateway;
  }

  machine(name: string): Machine {
    const machine = this.machines.get(name);
    if (!machine) throw new Error(`no machine ${name}`);
    return machine;
  }

  agent(name: string): Daemon {
    const agent = this.agents.get(name);
    if (!agent) throw new Error(`no agent ${name}`);
    return agent;
  }

  /** @param settings further keys of gateway.yaml */
  async startGateway(publishers: unknown = 'open', settings: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const machine = await Machine.create('gateway', { namespace: this.#options.namespaceOf?.('gateway') });
    const address = this.#options.gatewayAddress ?? '127.0.0.1';
    this.machines.set('gateway', machine);
    const [port, httpPort, overlayPort, linkPort] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    await machine.write(
      'gateway.yaml',
      stringify({
        version: 1,
        domain: 'localhost',
        publishers,
        listen: {
          https: `${address}:${port}`,
          http: `${address}:${httpPort}`,
          overlay: [`/ip4/${address}/tcp/${overlayPort}`],
          link: `${address}:${linkPort}`,
        },
        tls: { local: {} },
        ...(WORKERS === undefined ? {} : { workers: Number(WORKERS) }),
        ...settings,
      }),
    );
    const { daemon, status } = await this.#runGateway(machine);
    const caFile = typeof status['caFile'] === 'string' ? status['caFile'] : this.#options.caFile;
    const ca = await readFile(caFile ?? '', 'utf8');
    const domain = String(status['domain']);
    this.#gateway = {
      machine,
      daemon,
      port,
      pin: { domain, peers: status['peers'] as string[] },
      browser: new Browser({ port, ca }),
    };
  }

  /** Starts the gateway again after it was stopped or killed. */
  async restartGateway(): Promise<void> {
    this.gateway.daemon = (await this.#runGateway(this.gateway.machine)).daemon;
  }

  async #runGateway(machine: Machine): Promise<{ daemon: Daemon; status: Record<string, unknown> }> {
    const daemon = machine.spawn(['gateway', 'run', '--config', machine.path('gateway.yaml')]);
    const gateway = createGatewayClient({ socketPath: machine.path('state', 'gateway', 'gateway.sock') });
    const status = await eventually(
      'gateway ready',
      async () => {
        if (!daemon.running) throw new Error(`gateway exited:\n${daemon.output}`);
        return gateway.status();
      },
      READY_MS,
    );
    return { daemon, status: { ...status } };
  }

  /** Makes the machines of a deployment, applies its first version from `owner`, and lets the others join. */
  async grow(spec: DeploymentSpec): Promise<void> {
    this.#spec = spec;
    const owner = await this.addMachine('owner', spec.members['owner'] ?? { keeper: true });
    await owner.ok(['key', 'new']);
    await this.apply();
    for (const [name, member] of Object.entries(spec.members)) {
      if (name !== 'owner' && member.joins !== false) await this.join(name);
    }
  }

  /** Writes moat.yaml on the owner's machine from the spec, with `changes` from now on, and applies it. */
  async apply(changes: Partial<DeploymentSpec> = {}): Promise<void> {
    await this.writeFile(changes);
    await this.machine('owner').ok(['apply', '--yes', '--wait']);
  }

  async writeFile(changes: Partial<DeploymentSpec> = {}): Promise<void> {
    const spec = { ...this.#currentSpec(), ...changes };
    this.#spec = spec;
    const owner = this.machine('owner');
    const status = await owner.ok(['node', 'status']);
    const members = Object.entries<MemberSpec>({ owner: { keeper: true }, ...spec.members }).map(([name, member]) => [
      name,
      {
        ...(member.tags ? { tags: member.tags } : {}),
        ...(member.keeper ? { keeper: true } : {}),
        ...(member.expires ? { expires: member.expires } : {}),
        ...(name === 'owner' ? { node: status.json['peerId'] } : {}),
      },
    ]);
    const publish = [
      ...Object.entries(spec.publish ?? {}).map(([name, service]) => [name, { service, gateway: this.gateway.pin }]),
      ...Object.entries(spec.extraPublish ?? {}),
    ];
    await owner.write(
      'moat.yaml',
      stringify({
        version: 1,
        name: spec.name,
        network: { plane: spec.plane ?? 'rootless', ...(spec.ipv4 === undefined ? {} : { ipv4: spec.ipv4 }) },
        anchors: [
          ...(this.#gateway ? this.#gateway.pin.peers : []),
          ...(spec.meetsAt === undefined ? [] : [`${spec.meetsAt}/p2p/${String(status.json['peerId'])}`]),
        ],
        members: Object.fromEntries(members),
        services: spec.services,
        access: spec.access ?? [],
        ...(publish.length > 0 ? { publish: Object.fromEntries(publish) } : {}),
      }),
    );
  }

  /** Invites `name` and lets a new machine take the place; `via` hands the token over first, e.g. to stop the owner. */
  async join(name: string, via: () => Promise<void> = async () => {}): Promise<void> {
    const spec = this.#currentSpec().members[name] ?? {};
    const token = await this.invite(name);
    await via();
    const machine = await this.addMachine(name, spec);
    await machine.ok(['join', '-', '--wait', ...(spec.expose ?? []).flatMap((target) => ['--expose', target])], token);
  }

  /** The local API of a machine's agent. */
  client(name: string): AgentClient {
    return createAgentClient({ socketPath: this.machine(name).path('state', 'agent.sock') });
  }

  /** A token for the place `name`. */
  async invite(name: string, flags: readonly string[] = []): Promise<string> {
    const result = await this.machine('owner').ok(['invite', name, ...flags]);
    return String(result.json['token']);
  }

  /** Starts the agent of a machine again, with the ports it had. */
  async restart(name: string): Promise<void> {
    await this.machine(name).agentReady(this.spawnAgent(name));
  }

  /** Like {@link restart}, without waiting for it. */
  spawnAgent(name: string): Daemon {
    const agent = this.machine(name).spawnAgent(this.#flags(name));
    this.agents.set(name, agent);
    return agent;
  }

  /** Where programs on `machine` reach `service`, by its status. */
  async serviceAddress(machine: string, service: string): Promise<{ host: string; port: number }> {
    for (const { id } of await this.client(machine).deployments()) {
      const { services } = await this.client(machine).deployment(id);
      const local = services.find(({ name }) => name === service)?.local;
      if (local) return local;
    }
    throw new Error(`${service} has no address on ${machine}`);
  }

  /** A machine with a running agent, in no deployment yet. */
  async addMachine(name: string, spec: MemberSpec = {}): Promise<Machine> {
    const machine = await Machine.create(name, { namespace: this.#options.namespaceOf?.(name) });
    this.machines.set(name, machine);
    if (spec.flags) this.#ownFlags.set(name, spec.flags);
    if (spec.inbound !== false) this.#ports.set(name, [await freePort(), await freePort()]);
    this.agents.set(name, await machine.startAgent(this.#flags(name)));
    return machine;
  }

  #flags(name: string): string[] {
    const ports = this.#ports.get(name);
    const own = this.#ownFlags.get(name);
    if (own) return ['--no-mdns', ...own];
    if (!ports) return ['--no-mdns', '--no-inbound'];
    return ['--no-mdns', '--listen', `/ip4/127.0.0.1/tcp/${ports[0]}`, '--link-port', String(ports[1])];
  }

  #currentSpec(): DeploymentSpec {
    if (!this.#spec) throw new Error('this world has no deployment yet');
    return this.#spec;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.machines.values()].map((machine) => machine[Symbol.asyncDispose]()));
  }
}

/** Every object inside a JSON value, outermost first. */
export function objectsIn(value: unknown): Record<string, unknown>[] {
  if (Array.isArray(value)) return value.flatMap(objectsIn);
  if (typeof value !== 'object' || value === null) return [];
  return [value as Record<string, unknown>, ...Object.values(value).flatMap(objectsIn)];
}
