/**
 * Five nodes, two anchors and a gateway on a small internet, each with its state on a disk of its own that can be
 * filled; and what may happen to them: kill -9, a pause, a cut line, a full disk.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { createAgentClient, type AgentClient } from '@moat/admin-api';
import { Machine, eventually, type Daemon } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import type { Internet } from './internet.ts';

/** Where everything stands: `hub` names are public hosts, the others homes behind their routers. */
const PUBLIC = { gateway: 1, 'anchor-1': 2, 'anchor-2': 3, 'node-1': 4, 'node-4': 5, mallory: 6 } as const;
const HOMES = { 'node-2': 20, 'node-3': 30, 'node-5': 40 } as const;
const OVERLAY_PORT = 4410;
const STATE_BYTES = '24m';

export interface Place {
  readonly name: string;
  readonly machine: Machine;
  readonly client: AgentClient;
  readonly flags: readonly string[];
  daemon: Daemon;
}

export class ChaosWorld implements AsyncDisposable {
  readonly internet: Internet;
  readonly world: World;
  readonly places = new Map<string, Place>();
  readonly #mounts: string[] = [];

  constructor(internet: Internet) {
    this.internet = internet;
    for (const [name, last] of Object.entries(PUBLIC)) internet.addHost(name, { address: last });
    for (const [name, last] of Object.entries(HOMES)) internet.addHost(name, { nat: 'eim', address: last });
    this.world = new World({ gatewayAddress: '203.0.113.1', namespaceOf: (name) => internet.namespace(name) });
  }

  async start(): Promise<void> {
    await this.world.startGateway();
    for (const name of ['anchor-1', 'anchor-2']) await this.#startAgent(name, ['--anchor']);
    for (const name of ['node-1', 'node-2', 'node-3', 'node-4', 'node-5']) await this.#startAgent(name, []);
  }

  place(name: string): Place {
    const place = this.places.get(name);
    if (place === undefined) throw new Error(`no machine ${name}`);
    return place;
  }

  client(name: string): AgentClient {
    return this.place(name).client;
  }

  async peer(name: string): Promise<string> {
    return (await this.client(name).status()).peerId;
  }

  /** Multiaddr of a machine with a public address. */
  async address(name: string): Promise<string> {
    const last = PUBLIC[name as keyof typeof PUBLIC];
    return `/ip4/203.0.113.${last}/tcp/${OVERLAY_PORT}/p2p/${await this.peer(name)}`;
  }

  async #startAgent(name: string, more: readonly string[]): Promise<void> {
    const machine = await Machine.create(name, { namespace: this.internet.namespace(name) });
    const state = machine.path('state');
    mkdirSync(state, { mode: 0o700 });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${STATE_BYTES},mode=700`, 'tmpfs', state]);
    this.#mounts.push(state);
    const last = PUBLIC[name as keyof typeof PUBLIC];
    const flags =
      last === undefined
        ? ['--no-mdns', '--no-inbound']
        : ['--no-mdns', '--listen', `/ip4/203.0.113.${last}/tcp/${OVERLAY_PORT}`, '--link-port', '4411', ...more];
    const daemon = await machine.startAgent(flags);
    const client = createAgentClient({ socketPath: machine.path('state', 'agent.sock') });
    this.places.set(name, { name, machine, client, flags, daemon });
  }

  /** Starts again whoever was killed, without waiting. */
  revive(name: string): void {
    if (name === 'gateway') {
      const { gateway } = this.world;
      if (!gateway.daemon.running) {
        gateway.daemon = gateway.machine.spawn(['gateway', 'run', '--config', gateway.machine.path('gateway.yaml')]);
      }
      return;
    }
    const place = this.place(name);
    if (!place.daemon.running) place.daemon = place.machine.spawnAgent(place.flags);
  }

  daemon(name: string): Daemon {
    return name === 'gateway' ? this.world.gateway.daemon : this.place(name).daemon;
  }

  /** Waits until a machine's agent answers. */
  answers(name: string): Promise<unknown> {
    return eventually(`${name} answers`, () => this.client(name).status({ timeoutMs: 2000 }), 30_000);
  }

  /** Fills a machine's disk to the last byte. */
  fillDisk(name: string): void {
    const file = openSync(this.#ballast(name), 'w');
    try {
      for (const size of [1 << 20, 1 << 12, 1]) {
        for (;;) {
          try {
            if (writeSync(file, Buffer.alloc(size)) < size) break;
          } catch {
            break;
          }
        }
      }
    } finally {
      closeSync(file);
    }
  }

  emptyDisk(name: string): void {
    rmSync(this.#ballast(name), { force: true });
  }

  #ballast(name: string): string {
    return this.place(name).machine.path('state', 'ballast');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of ['gateway', ...this.places.keys()]) this.daemon(name).child.kill('SIGCONT');
    for (const { daemon } of this.places.values()) await daemon.kill('SIGKILL');
    for (const mount of this.#mounts) {
      try {
        execFileSync('umount', ['-l', mount]);
      } catch {
        // gone with its namespace
      }
    }
    await Promise.all([...this.places.values()].map(({ machine }) => machine[Symbol.asyncDispose]()));
    await this.world[Symbol.asyncDispose]();
  }
}
