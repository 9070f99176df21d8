/** An internet of UDP packets on a manual clock: hosts, routers that translate, and sockets. */
import type { Clock, Endpoint } from '@moat/core';

export type Router = 'none' | 'eim' | 'cone' | 'edm' | 'blocked';

/** A packet in the world; `key` is what mac1 would be made with. */
export interface Packet {
  readonly kind: 'initiation' | 'response' | 'data';
  readonly key: string;
  readonly from: string;
  readonly session: string;
  readonly psk: string | null;
  readonly bytes: number;
}

export type Receive = (packet: Packet, source: Endpoint) => void;

export interface HostOptions {
  readonly address: string;
  /** Address of the router in front; hosts with the same one share a LAN. */
  readonly router?: { readonly address: string; readonly kind: Router; readonly forgetsMs?: number };
}

interface Mapping {
  readonly inner: { readonly host: WorldHost; readonly port: number };
  readonly outside: number;
  /** Remote `host port` → when it was last used. */
  readonly allowed: Map<string, number>;
}

class WorldRouter {
  readonly address: string;
  kind: Router;
  readonly forgetsMs: number;
  readonly #clock: Clock;
  readonly #mappings = new Map<string, Mapping>();
  readonly #opened = new Map<number, Mapping['inner']>();
  #nextPort = 40_000;

  constructor(clock: Clock, { address, kind, forgetsMs = 60_000 }: NonNullable<HostOptions['router']>) {
    this.#clock = clock;
    this.address = address;
    this.kind = kind;
    this.forgetsMs = forgetsMs;
  }

  out(host: WorldHost, port: number, target: Endpoint): Endpoint | null {
    if (this.kind === 'blocked') return null;
    const remote = `${target.host} ${target.port}`;
    const key = this.kind === 'edm' ? `${host.address} ${port} ${remote}` : `${host.address} ${port}`;
    let mapping = this.#mappings.get(key);
    if (mapping === undefined || !this.#isAlive(mapping)) {
      mapping = { inner: { host, port }, outside: this.#nextPort++, allowed: new Map() };
      this.#mappings.set(key, mapping);
    }
    mapping.allowed.set(remote, this.#clock.now());
    return { host: this.address, port: mapping.outside };
  }

  /** Whatever arrives at a port of the router goes to the host from now on, as it asked for. */
  open(outside: number, host: WorldHost, port: number): void {
    this.#opened.set(outside, { host, port });
  }

  in(port: number, source: Endpoint): Mapping['inner'] | null {
    const opened = this.#opened.get(port);
    if (opened !== undefined) {
      const remote = `${source.host} ${source.port}`;
      const mapping = { inner: opened, outside: port, allowed: new Map([[remote, this.#clock.now()]]) };
      // Answers leave by the port that was asked.
      this.#mappings.set(`${opened.host.address} ${opened.port} ${remote}`, mapping);
      return opened;
    }
    for (const mapping of this.#mappings.values()) {
      if (mapping.outside !== port) continue;
      const remote = `${source.host} ${source.port}`;
      const usedAt = mapping.allowed.get(remote);
      const isOpen = this.kind === 'cone' && this.#isAlive(mapping);
      if (!isOpen && (usedAt === undefined || this.#clock.now() - usedAt > this.forgetsMs)) return null;
      mapping.allowed.set(remote, this.#clock.now());
      // Who moved to another network is no longer behind this router.
      return mapping.inner.host.router === this ? mapping.inner : null;
    }
    return null;
  }

  forgetAll(): void {
    this.#mappings.clear();
  }

  #isAlive(mapping: Mapping): boolean {
    return [...mapping.allowed.values()].some((usedAt) => this.#clock.now() - usedAt <= this.forgetsMs);
  }
}

export class WorldHost {
  address: string;
  router: WorldRouter | undefined;
  readonly world: UdpWorld;
  readonly #sockets = new Map<string, Receive>();
  /** Where packets were sent, loopback left out. */
  readonly sentTo = new Map<string, number>();
  #nextLoopback = 20_000;

  constructor(world: UdpWorld, address: string, router: WorldRouter | undefined) {
    this.world = world;
    this.address = address;
    this.router = router;
  }

  listen(port: number, receive: Receive): () => void {
    this.#sockets.set(`* ${port}`, receive);
    return () => void this.#sockets.delete(`* ${port}`);
  }

  /** A socket on 127.0.0.1; returns its endpoint. */
  listenLoopback(receive: Receive): { readonly endpoint: Endpoint; readonly close: () => void } {
    const port = this.#nextLoopback++;
    this.#sockets.set(`127.0.0.1 ${port}`, receive);
    return { endpoint: { host: '127.0.0.1', port }, close: () => void this.#sockets.delete(`127.0.0.1 ${port}`) };
  }

  send(port: number, target: Endpoint, packet: Packet): void {
    if (target.host === '127.0.0.1') {
      this.#sockets.get(`127.0.0.1 ${target.port}`)?.(packet, { host: '127.0.0.1', port });
      return;
    }
    this.sentTo.set(target.host, (this.sentTo.get(target.host) ?? 0) + 1);
    this.world.carry(this, port, target, packet);
  }

  /** From a loopback socket of this host to one of its UDP ports. */
  sendLoopback(from: Endpoint, port: number, packet: Packet): void {
    this.#sockets.get(`* ${port}`)?.(packet, from);
  }

  receive(port: number, packet: Packet, source: Endpoint): void {
    this.#sockets.get(`* ${port}`)?.(packet, source);
  }
}

export class UdpWorld {
  readonly clock: Clock;
  readonly #latencyMs: number;
  readonly #hosts: WorldHost[] = [];
  readonly #routers = new Map<string, WorldRouter>();
  /** Decides the fate of a packet between hosts; true = lost. */
  lose: () => boolean = () => false;

  constructor(clock: Clock, latencyMs = 10) {
    this.clock = clock;
    this.#latencyMs = latencyMs;
  }

  host({ address, router }: HostOptions): WorldHost {
    const host = new WorldHost(this, address, router === undefined ? undefined : this.router(router));
    this.#hosts.push(host);
    return host;
  }

  router(options: NonNullable<HostOptions['router']>): WorldRouter {
    const known = this.#routers.get(options.address) ?? new WorldRouter(this.clock, options);
    this.#routers.set(options.address, known);
    return known;
  }

  carry(host: WorldHost, port: number, target: Endpoint, packet: Packet): void {
    if (this.lose()) return;
    const own: Endpoint = { host: host.address, port };
    const neighbour = this.#hosts.find((other) => other.address === target.host && other.router === host.router);
    if (neighbour !== undefined) return this.#later(() => neighbour.receive(target.port, packet, own));
    const source = host.router === undefined ? own : host.router.out(host, port, target);
    if (source === null) return;
    this.#later(() => {
      const open = this.#hosts.find((other) => other.address === target.host && other.router === undefined);
      if (open !== undefined) return open.receive(target.port, packet, source);
      const inner = this.#routers.get(target.host)?.in(target.port, source);
      inner?.host.receive(inner.port, packet, source);
    });
  }

  #later(arrive: () => void): void {
    this.clock.after(this.#latencyMs, arrive);
  }
}
