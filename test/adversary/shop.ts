/**
 * A small shop of real processes that the adversary tests attack: a keeper `hub`, a member `web` that offers three
 * services, a member `app` that may reach one of them, and the gateway, which serves one name.
 */
import { connect, createServer, type Socket } from 'node:net';
import type { AgentClient } from '@moat/admin-api';
import type { Contract, Member } from '@moat/contract';
import { eventually } from '../e2e/machine.ts';
import { startWebService, type WebService } from '../e2e/web-service.ts';
import { World } from '../e2e/world.ts';
import { Pen, pinned, publication, type Draft, type Seat } from './pen.ts';

export interface ShopOptions {
  /** Owners and how many must sign. @defaultValue one */
  readonly seats?: readonly Seat[];
  readonly threshold?: number;
  /** More members, services, publications than the shop has itself. */
  readonly more?: (shop: Shop) => Draft;
  /** Names of further machines that run agents and are pinned as members. */
  readonly machines?: readonly string[];
}

/** A TCP service that counts who came; it sends back what it gets. */
export interface Echo extends AsyncDisposable {
  readonly port: number;
  /** Connections since the start. */
  came: number;
  /** Connections that stand. */
  open(): number;
}

export class Shop implements AsyncDisposable {
  readonly world: World = new World();
  readonly pen: Pen;
  readonly web: WebService;
  readonly db: Echo;
  /** Listens on the member's machine and is exposed to nobody. */
  readonly private: Echo;
  readonly peers: Record<string, string> = {};
  readonly addresses: Record<string, readonly string[]> = {};
  readonly #hosts: string[] = ['hub', 'web', 'app'];

  private constructor(pen: Pen, web: WebService, db: Echo, priv: Echo) {
    this.pen = pen;
    this.web = web;
    this.db = db;
    this.private = priv;
  }

  static async open(options: ShopOptions = {}): Promise<Shop> {
    const pen = new Pen(options.seats, options.threshold);
    const shop = new Shop(pen, await startWebService(), await startEcho(), await startEcho());
    try {
      await shop.#open(options);
      return shop;
    } catch (error) {
      await shop[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #open({ machines = [], more }: ShopOptions): Promise<void> {
    this.#hosts.push(...machines);
    await Promise.all([this.world.startGateway(), ...this.#hosts.map((name) => this.start(name))]);
    const draft: Draft = {
      anchors: this.world.gateway.pin.peers,
      members: this.members(),
      services: [
        { name: 'web', on: ['web'], port: 80, target: `127.0.0.1:${this.web.port}`, protocol: 'http' },
        { name: 'db', on: ['web'], port: 5432, target: `127.0.0.1:${this.db.port}`, protocol: 'tcp' },
        { name: 'private', on: ['web'], port: 9000, target: `127.0.0.1:${this.private.port}`, protocol: 'tcp' },
      ],
      access: [{ from: ['app'], to: ['db', 'private'] }],
      publish: [publication('shop', 'web', this.world.gateway.pin.domain, this.world.gateway.pin.peers)],
    };
    await this.pen.apply(this.client('hub'), { ...draft, ...more?.(Object.assign(this, { draft })) });
    for (const name of this.#hosts) if (name !== 'hub') await this.locate(name);
    const { deployment } = this.pen;
    await this.client('web').expose({ deployment, target: String(this.web.port), public: true });
    await this.client('web').expose({ deployment, target: String(this.db.port) });
  }

  /** The version the shop opened with, for `more` to build on. */
  draft: Draft = {};

  /** Its machines as pinned members; `hub` keeps. */
  members(): Member[] {
    return this.#hosts.map((name, i) =>
      pinned(name, i + 2, this.peers[name] ?? '', name === 'hub' ? { keeper: true } : {}),
    );
  }

  /** Starts a machine's agent; it is a member of nothing yet. */
  async start(name: string): Promise<void> {
    await this.world.addMachine(name);
    const status = await this.client(name).status();
    this.peers[name] = status.peerId;
    this.addresses[name] = status.addresses;
  }

  /** Shows a pinned machine the way to its deployment. */
  async locate(name: string, keepers: readonly string[] = this.addresses['hub'] ?? []): Promise<void> {
    await this.client(name).join({ token: this.pen.token(keepers), waitMs: 20_000 });
  }

  client(name: string): AgentClient {
    return this.world.client(name);
  }

  peer(name: string): string {
    return this.peers[name] ?? '';
  }

  /** Applies at the hub and waits until these machines run it. */
  async apply(draft: Draft, names: readonly string[] = this.#hosts, by?: readonly Seat[]): Promise<void> {
    await this.pen.apply(this.client('hub'), draft, by);
    await this.runs(names);
  }

  /** Waits until these machines run the newest version. */
  async runs(names: readonly string[] = this.#hosts, version = this.pen.version.contract.version): Promise<void> {
    for (const name of names) {
      await eventually(`${name} runs version ${version}`, async () => (await this.versionAt(name)) === version);
    }
  }

  async versionAt(name: string): Promise<number> {
    return (await this.client(name).deployment(this.pen.deployment)).version;
  }

  /** The contract as applied last. */
  get contract(): Contract {
    return this.pen.version.contract;
  }

  /** Whether the public name answers. */
  async served(name = 'shop'): Promise<boolean> {
    return (await this.world.gateway.browser.fetch(`${name}.localhost`)).status === 200;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
    await Promise.all([this.web, this.db, this.private].map((service) => service[Symbol.asyncDispose]()));
  }
}

export async function startEcho(): Promise<Echo> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    echo.came += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const echo: Echo = {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    came: 0,
    open: () => sockets.size,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return echo;
}

/** Sends `text` to an address and gives what comes back, or the error's code. */
export function tell(to: { readonly host: string; readonly port: number }, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ ...to });
    let received = '';
    socket.setTimeout(8000, () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString();
      if (received.length >= text.length) socket.destroy();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    socket.on('close', () => resolve(received));
    socket.write(text);
  });
}
