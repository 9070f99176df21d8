/** Members with tunnels, rides, anchors and forwarders in a {@link UdpWorld}, and paths between them. */
import { setImmediate as turn } from 'node:timers/promises';

import {
  MoatError,
  silentLogger,
  sleep,
  type ControlPlane,
  type Endpoint,
  type PeerConnection,
  type Timer,
} from '@moat/core';
import { createManualClock, createMemoryNetwork, type ManualClock, type MemoryNetwork } from '@moat/testkit';

import { createPathDoor, createPaths, type Paths } from '../../src/plane/paths/paths.ts';
import type { ForwardSession, PacketRide } from '../../src/plane/paths/path-ports.ts';
import type { PathState } from '../../src/plane/paths/path-state.ts';
import { UdpWorld, type HostOptions, type Packet, type Router, type WorldHost } from './udp-world.ts';
import { WorldMapper } from './world-mapper.ts';
import { WorldTunnels } from './world-tunnels.ts';

export const DEPLOYMENT = 'abcdefghijklmnopqrstuvwxyz';
/** PeerIds in order: the first leads. */
const IDS = [
  '12D3KooW9tfEmRVhPKdEBS6bqAmANZ5CvRpoiT6LTqEwK3fVwEyV',
  '12D3KooWAJjbRkp8FPF5MKgMU53aUTxWkqvDrs4zc1VMbwRwfsbE',
  '12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq',
  '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN',
  '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp',
  '12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu',
  '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5',
  '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X',
] as const;

export interface Member {
  readonly peer: string;
  readonly host: WorldHost;
  readonly tunnels: WorldTunnels;
  readonly control: ControlPlane;
  readonly rides: Map<string, WorldRide>;
  readonly mapper: WorldMapper;
  addresses: string[];
  forwarders: string[];
  paths: Paths;
  /** Packets of programs that arrived. */
  arrived: number;
  restart(): Promise<void>;
}

export class PathsWorld {
  readonly clock: ManualClock = createManualClock();
  readonly udp: UdpWorld = new UdpWorld(this.clock);
  readonly network: MemoryNetwork = createMemoryNetwork();
  readonly members: Member[] = [];
  readonly anchors: string[] = [];
  readonly #observers = new Map<string, Map<string, (seen: Endpoint) => void>>();
  readonly #forwarders = new Map<string, WorldForwarder>();
  /** Links carry packets. */
  linksUp = true;
  #ids = 0;

  nextId(): string {
    const id = IDS[this.#ids++];
    if (id === undefined) throw new Error('too many machines');
    return id;
  }

  anchor(address: string): string {
    const peer = this.nextId();
    const host = this.udp.host({ address });
    const waiting = new Map<string, (seen: Endpoint) => void>();
    host.listen(4410, (packet, source) => waiting.get(packet.key)?.(source));
    this.network.join(peer);
    this.#observers.set(peer, waiting);
    this.anchors.push(peer);
    return peer;
  }

  forwarder(address: string): string {
    const peer = this.nextId();
    this.network.join(peer);
    this.#forwarders.set(peer, new WorldForwarder(this.udp.host({ address })));
    return peer;
  }

  forwarderOf(peer: string): WorldForwarder {
    const forwarder = this.#forwarders.get(peer);
    if (forwarder === undefined) throw new Error('no forwarder');
    return forwarder;
  }

  async member(options: HostOptions): Promise<Member> {
    const peer = this.nextId();
    const host = this.udp.host(options);
    const control = this.network.join(peer);
    const tunnels = new WorldTunnels(host, `key of ${peer}`);
    const door = createPathDoor({ control, clock: this.clock });
    const rides = new Map<string, WorldRide>();
    const make = (): Paths =>
      createPaths(
        {
          control,
          door,
          tunnels,
          clock: this.clock,
          logger: silentLogger,
          anchors: () => this.anchors,
          observe: (connection, key) => this.#observe(connection, key),
          openRide: (to) => Promise.resolve(this.#ride(member, to)),
          openForward: (connection, pair, signal) => this.#forward(member, connection, pair.peer, signal),
          forwarders: () => member.forwarders,
          portMapper: member.mapper,
          localAddresses: () => member.addresses,
        },
        { tunnel: 'tunnel', deployment: DEPLOYMENT, port: 51_820, excluded: () => ['10.77.0.0/16'] },
      );
    const member: Member = {
      peer,
      host,
      tunnels,
      control,
      rides,
      mapper: new WorldMapper(),
      addresses: [options.address],
      forwarders: [],
      paths: undefined as unknown as Paths,
      arrived: 0,
      restart: async () => {
        await member.paths.stop();
        member.paths = make();
        await member.paths.start({ signal: new AbortController().signal });
        await member.paths.update(this.members.filter((other) => other !== member).map(asPeer));
      },
    };
    tunnels.onPacket = () => (member.arrived += 1);
    member.paths = make();
    await member.paths.start({ signal: new AbortController().signal });
    this.members.push(member);
    return member;
  }

  /** Makes all members peers of each other. */
  async pair(): Promise<void> {
    for (const member of this.members) {
      const others = this.members.filter((other) => other !== member);
      for (const other of others) member.tunnels.addPeer(other.tunnels.publicKey);
      await member.paths.update(others.map(asPeer));
    }
  }

  /** Lets time pass; `each` runs before every step. */
  async run(milliseconds: number, stepMs = 10, each: () => void = () => undefined): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += stepMs) {
      each();
      this.clock.advance(stepMs);
      for (let turns = 0; turns < 6; turns++) await turn();
    }
  }

  /** Lets time pass until it is so; fails after `withinMs`. Returns the milliseconds it took. */
  async until(condition: () => boolean, withinMs: number, each: () => void = () => undefined): Promise<number> {
    const start = this.clock.now();
    while (!condition()) {
      if (this.clock.now() - start > withinMs) throw new Error(`not within ${withinMs} ms`);
      await this.run(10, 10, each);
    }
    return this.clock.now() - start;
  }

  async stop(): Promise<void> {
    for (const member of this.members) await member.paths.stop();
  }

  async #observe(
    connection: PeerConnection,
    key: string,
  ): Promise<{ readonly listening: Endpoint; readonly observed: Promise<Endpoint> }> {
    const waiting = this.#observers.get(connection.peer);
    const address = this.#addressOfAnchor(connection.peer);
    if (waiting === undefined || address === undefined) throw new MoatError('PROTOCOL_UNSUPPORTED', 'no anchor');
    const observed = new Promise<Endpoint>((resolve) => waiting.set(key, resolve));
    return { listening: { host: address, port: 4410 }, observed };
  }

  #addressOfAnchor(peer: string): string | undefined {
    const index = this.anchors.indexOf(peer);
    return index < 0 ? undefined : `203.0.113.${index + 1}`;
  }

  #ride(member: Member, to: string): WorldRide {
    const ride = new WorldRide(this, member, to);
    member.rides.set(to, ride);
    return ride;
  }

  async #forward(member: Member, connection: PeerConnection, to: string, signal: AbortSignal): Promise<ForwardSession> {
    const forwarder = this.#forwarders.get(connection.peer);
    if (forwarder === undefined || forwarder.isDead) throw new MoatError('FORWARD_REFUSED', 'no forwarder');
    if (forwarder.joinMs > 0) await sleep(this.clock, forwarder.joinMs, signal);
    return forwarder.join(member.peer, to);
  }
}

function asPeer({ peer, tunnels }: Member): { peer: string; publicKey: string } {
  return { peer, publicKey: tunnels.publicKey };
}

/** Packets of one peer inside a link, 20 ms away. */
export class WorldRide implements PacketRide {
  readonly endpoint: Endpoint;
  readonly #world: PathsWorld;
  readonly #member: Member;
  readonly #to: string;
  readonly #close: () => void;
  readonly #waiting: Packet[] = [];
  #held: Timer | undefined;
  #resting = true;
  onWake: () => void = () => undefined;
  carried = 0;

  constructor(world: PathsWorld, member: Member, to: string) {
    this.#world = world;
    this.#member = member;
    this.#to = to;
    const { endpoint, close } = member.host.listenLoopback((packet) => this.#out(packet));
    this.endpoint = endpoint;
    this.#close = close;
  }

  get path(): 'direct' | null {
    return this.#resting ? null : 'direct';
  }

  rest(): void {
    this.#resting = true;
  }

  hold(delayMs: number): void {
    this.#held?.cancel();
    this.#held = undefined;
    if (delayMs > 0) this.#held = this.#world.clock.after(delayMs, () => this.hold(0));
    else for (const packet of this.#waiting.splice(0)) this.#out(packet);
  }

  close(): Promise<void> {
    this.#close();
    return Promise.resolve();
  }

  #out(packet: Packet): void {
    if (this.#held !== undefined) return void this.#waiting.push(packet);
    this.#wake();
    if (!this.#world.linksUp) return;
    this.carried += 1;
    this.#world.clock.after(20, () => {
      const other = this.#world.members.find(({ peer }) => peer === this.#to);
      other?.rides.get(this.#member.peer)?.arrive(packet);
    });
  }

  arrive(packet: Packet): void {
    this.#wake();
    this.#member.host.sendLoopback(this.endpoint, this.#member.tunnels.port, packet);
  }

  #wake(): void {
    if (!this.#resting) return;
    this.#resting = false;
    this.onWake();
  }
}

/** One UDP port a pair; knows a side by the key it was given. */
export class WorldForwarder {
  readonly #host: WorldHost;
  readonly #sessions = new Map<string, ReturnType<WorldForwarder['begin']>>();
  #nextPort = 30_000;
  isDead = false;
  /** Milliseconds until it has a port for a pair. */
  joinMs = 0;

  constructor(host: WorldHost) {
    this.#host = host;
  }

  join(member: string, to: string): ForwardSession {
    const name = [member, to].toSorted().join();
    const session = this.#sessions.get(name) ?? this.begin();
    this.#sessions.set(name, session);
    return session.join(member);
  }

  begin(): { readonly join: (member: string) => ForwardSession } {
    const port = this.#nextPort++;
    const sides = new Map<string, Endpoint>();
    const keys = new Map<string, string>();
    const learned = new Map<string, (endpoint: Endpoint) => void>();
    this.#host.listen(port, (packet, source) => {
      if (this.isDead) return;
      const member = keys.get(packet.key);
      if (member !== undefined) {
        sides.set(member, source);
        return learned.get(member)?.(source);
      }
      const from = [...sides].find(([, side]) => side.host === source.host && side.port === source.port)?.[0];
      const other = [...sides].find(([side]) => side !== from)?.[1];
      if (from !== undefined && other !== undefined) this.#host.send(port, other, packet);
    });
    return {
      join: (member) => {
        const key = `forward ${port} ${member}`;
        keys.set(key, member);
        return {
          endpoint: { host: this.#host.address, port },
          key,
          learned: new Promise((resolve) => learned.set(member, resolve)),
          closed: new AbortController().signal,
          close: () => undefined,
        };
      },
    };
  }
}

export function stateOf(member: Member, other: Member): PathState {
  const line = member.paths.states().find(({ peer }) => peer === other.peer);
  if (line === undefined) throw new Error('no such peer');
  return line.state;
}

export function both(one: Member, two: Member, kind: PathState['kind']): boolean {
  return stateOf(one, two).kind === kind && stateOf(two, one).kind === kind;
}

/** Two members behind routers, and two anchors; `one` leads. */
export async function twoBehind(
  a: Router,
  b: Router,
  forgetsMs?: number,
): Promise<{ world: PathsWorld; one: Member; two: Member }> {
  const world = new PathsWorld();
  const behind = (kind: Router, index: number): HostOptions => {
    const address = `203.0.113.${100 + index}`;
    if (kind === 'none') return { address };
    const router = { address, kind, ...(forgetsMs === undefined ? {} : { forgetsMs }) };
    return { address: `192.168.${index}.2`, router };
  };
  const one = await world.member(behind(a, 10));
  const two = await world.member(behind(b, 20));
  world.anchor('203.0.113.1');
  world.anchor('203.0.113.2');
  await world.pair();
  return { world, one, two };
}
