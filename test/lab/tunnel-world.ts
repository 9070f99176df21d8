/**
 * A network on WireGuard interfaces across a small internet: two anchors, an owner who keeps, and members behind whatever
 * their place has. All offer the same service by TCP and UDP, and may reach each other's.
 */
import { createAgentClient, type AgentClient, type WireguardPeer, type WireguardStatus } from '@moat/admin-api';
import { stringify } from 'yaml';
import { Machine, eventually, type Daemon } from '../e2e/machine.ts';
import { Internet, type HostSpec } from './internet.ts';
import { PacketProbe, type Ask, type Heard } from './packet-probe.ts';

export interface TunnelMember extends HostSpec {
  /** It passes on packets of others, where it has a public address. */
  readonly relay?: boolean;
  /** It has no interface, and reaches services by links. */
  readonly rootless?: boolean;
  /** It has an interface, and no grant to anybody or of anybody. */
  readonly stranger?: boolean;
}

export interface TunnelSpec {
  readonly members: Readonly<Record<string, TunnelMember>>;
  /** Further services, as moat.yaml has them. */
  readonly services?: Readonly<Record<string, object>>;
  /** @defaultValue all may reach the services that all offer */
  readonly access?: readonly object[];
  /** @defaultValue no preshared keys */
  readonly postQuantum?: 'prefer' | 'require';
  /** Targets that every member exposes besides. */
  readonly expose?: readonly string[];
}

const PORT = 4410;
/** The service that all offer: its port inside, and where it listens. */
export const ECHO = { port: 7, target: 9007 } as const;
/** Milliseconds to find the keeper, on a machine that has other work to do. */
const JOIN_MS = 90_000;
/** Milliseconds until packets go the best way, where a first try fails: the second comes half a minute later. */
export const DIRECT_MS = 75_000;
/** Machines that start, or join, at the same time. */
const AT_ONCE = 6;
const EVERYBODY = [{ from: ['tag:all'], to: ['echo-tcp', 'echo-udp'] }];

/** One machine of the network. */
export interface Place {
  readonly machine: Machine;
  readonly client: AgentClient;
  readonly flags: readonly string[];
  daemon: Daemon;
  readonly probe: PacketProbe;
}

export class TunnelWorld implements AsyncDisposable {
  readonly internet: Internet = new Internet();
  readonly places = new Map<string, Place>();
  readonly #anchors: string[] = [];
  readonly #addresses = new Map<string, string>();
  #spec: TunnelSpec = { members: {} };

  /** Resolves when all have their interfaces and know each other's keys. */
  async start(spec: TunnelSpec): Promise<void> {
    this.#spec = spec;
    await Promise.all([
      this.#boot('anchor-1', { address: 1, ipv6: true }, ['--anchor']),
      this.#boot('anchor-2', { address: 2, ipv6: true }, ['--anchor']),
      this.#boot('owner', { address: 3, ipv6: true }),
    ]);
    await eachOf(Object.entries(spec.members), ([name, member]) => this.#boot(name, member));
    for (const name of ['anchor-1', 'anchor-2']) this.#anchors.push(...(await this.#publicAddresses(name)));
    const owner = this.place('owner');
    await owner.machine.ok(['key', 'new', '--plain']);
    await this.apply();
    const { json } = await owner.machine.ok(['invite', '--all']);
    const tokens = json['tokens'] as readonly { readonly member: string; readonly token: string }[];
    await eachOf(tokens, ({ member, token }) => this.#join(member, token));
    // When all keys are there: an interface that stands follows each of them.
    await eachOf(this.#tunneled(), (name) => this.place(name).client.wireguardUp('lab', {}));
    const granted = this.#tunneled().filter((name) => spec.members[name]?.stranger !== true);
    for (const name of granted) {
      const knows = async (): Promise<boolean> => (await this.status(name)).peers.length >= granted.length - 1;
      await eventually(`${name} knows all keys`, knows, 60_000);
    }
    const { places } = await owner.client.deployment('lab');
    for (const { name, ipv4 } of places) this.#addresses.set(name, ipv4);
  }

  place(name: string): Place {
    const place = this.places.get(name);
    if (place === undefined) throw new Error(`no machine ${name}`);
    return place;
  }

  /** A member's address inside the network. */
  address(name: string): string {
    const address = this.#addresses.get(name);
    if (address === undefined) throw new Error(`no member ${name}`);
    return address;
  }

  /** Writes moat.yaml, with `changes` from now on, and applies it. */
  async apply(changes: Partial<TunnelSpec> = {}): Promise<void> {
    this.#spec = { ...this.#spec, ...changes };
    const { members, services, access, postQuantum } = this.#spec;
    const { machine, client } = this.place('owner');
    const { peerId } = await client.status();
    const echo = { on: ['tag:all'], port: ECHO.port, target: `127.0.0.1:${ECHO.target}` };
    const file = {
      version: 1,
      name: 'lab',
      network: { plane: 'auto', ...(postQuantum === undefined ? {} : { postQuantum }) },
      anchors: this.#anchors,
      members: {
        owner: { node: peerId, keeper: true },
        ...Object.fromEntries(
          Object.entries(members).map(([name, { stranger }]) => [name, stranger === true ? {} : { tags: ['all'] }]),
        ),
      },
      services: { 'echo-tcp': { ...echo, protocol: 'tcp' }, 'echo-udp': { ...echo, protocol: 'udp' }, ...services },
      access: access ?? EVERYBODY,
    };
    await machine.write('moat.yaml', stringify(file));
    await machine.ok(['apply', '--yes']);
  }

  status(name: string): Promise<WireguardStatus> {
    return this.place(name).client.wireguard('lab');
  }

  /** How `from` reaches `to` now. */
  async peer(from: string, to: string): Promise<WireguardPeer> {
    const { peers } = await this.status(from);
    const peer = peers.find(({ member }) => member === to);
    if (peer === undefined) throw new Error(`${to} is no peer of ${from}`);
    return peer;
  }

  /** What a program of `from` hears from the service of `to`, or how asking failed. */
  ask(from: string, to: string, how: Partial<Ask> = {}): Promise<Heard> {
    return this.place(from).probe.ask({ kind: 'udp', host: this.address(to), port: ECHO.port, ...how });
  }

  /** Starts the agent of a machine again, after it was killed. */
  async restart(name: string): Promise<void> {
    const place = this.place(name);
    place.daemon = await place.machine.startAgent(place.flags);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const tunneled = this.#tunneled().flatMap((name) => this.places.get(name) ?? []);
    await eachOf(tunneled, ({ client }) => client.wireguardDown('lab').catch(() => undefined));
    await Promise.all([...this.places.values()].map(({ machine }) => machine[Symbol.asyncDispose]()));
    this.internet[Symbol.dispose]();
  }

  #tunneled(): readonly string[] {
    return Object.entries(this.#spec.members).flatMap(([name, { rootless }]) => (rootless === true ? [] : name));
  }

  async #boot(name: string, spec: TunnelMember, more: readonly string[] = []): Promise<void> {
    const host = this.internet.addHost(name, spec);
    const namespace = this.internet.namespace(name);
    const machine = await Machine.create(name, { namespace });
    const isPublic = spec.nat === undefined || spec.nat === 'open' ? spec.behind === undefined : false;
    const listen = [
      '--listen',
      `/ip4/${host}/tcp/${PORT}`,
      '--link-port',
      '4411',
      ...(spec.ipv6 === true ? ['--listen', `/ip6/2001:db8::${spec.address}/tcp/${PORT}`] : []),
    ];
    const relay = spec.relay === true ? ['--relay'] : [];
    const flags = ['--no-mdns', ...(isPublic ? listen : ['--no-inbound']), ...relay, ...more];
    const daemon = await machine.startAgent(flags);
    const client = createAgentClient({ socketPath: machine.path('state', 'agent.sock') });
    const probe = await PacketProbe.start(namespace);
    for (const kind of ['tcp', 'udp'] as const) await probe.serve(kind, '127.0.0.1', ECHO.target, name);
    this.places.set(name, { machine, client, flags, daemon, probe });
  }

  async #join(name: string, token: string): Promise<void> {
    const { client } = this.place(name);
    const targets = [String(ECHO.target), ...(this.#spec.expose ?? [])].map((target) => ({ target }));
    await client.join({ token, waitMs: JOIN_MS, expose: targets });
  }

  async #publicAddresses(name: string): Promise<readonly string[]> {
    const { addresses } = await this.place(name).client.status();
    return addresses.filter((address) => /203\.0\.113\.|2001:db8:/.test(address));
  }
}

async function eachOf<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  const waiting = all.values();
  const worker = async (): Promise<void> => {
    for (const one of waiting) await work(one);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
