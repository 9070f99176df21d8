/** A gateway, an owner and a service node on loopback, which grow while they are measured: names are published, machines join. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { eventually } from '../../e2e/machine.ts';
import { World } from '../../e2e/world.ts';
import type { BenchContext } from '../context.ts';
import type { RunningSubject, Subject } from '../subject.ts';

const BODY = Buffer.alloc(1024, 'x');
/** Places that machines can take: one a measurement and one more each for the repeated and the first that do not count. */
const PLACES = 24;
const PLACE_NAMES = Array.from({ length: PLACES }, (_, i) => `guest-${i}`);

/** What a measurement needs of it. */
export class LifeOfMoat implements RunningSubject {
  readonly targets = {};
  readonly #world: World;
  readonly #service: AsyncDisposable;
  readonly #places = [...PLACE_NAMES];
  #published = 0;

  constructor(world: World, service: AsyncDisposable) {
    this.#world = world;
    this.#service = service;
  }

  /** Starts the three, and makes the places. */
  async grow(servicePort: number): Promise<void> {
    await this.#world.startGateway();
    const places = Object.fromEntries(PLACE_NAMES.map((name) => [name, { joins: false }]));
    await this.#world.grow({
      name: 'life',
      members: { owner: { keeper: true }, web: { expose: [`${servicePort},public`] }, ...places },
      services: { web: { on: ['web'], port: 80, target: `127.0.0.1:${servicePort}`, protocol: 'http' } },
      access: [{ from: PLACE_NAMES, to: ['web'] }],
    });
  }

  pids(): readonly number[] {
    return [this.#world.gateway.daemon.pid, this.#world.agent('web').pid];
  }

  /** Resident memory of the gateway and of the node, in bytes. */
  async residentBytes(): Promise<{ gateway: number; node: number }> {
    const [gateway, node] = [this.#world.gateway.daemon, this.#world.agent('web')];
    return { gateway: await gateway.residentBytes(), node: await node.residentBytes() };
  }

  /** Milliseconds from the owner's signature to the first 200 that the public sees. */
  async publish(): Promise<number> {
    const name = `try-${this.#published++}`;
    await this.#world.writeFile({ publish: { [name]: 'web' } });
    const applied = this.#world.machine('owner').ok(['apply', '--yes']);
    await eventually('version accepted', async () =>
      JSON.stringify((await this.#world.client('owner').deployment('life')).contract).includes(`"${name}"`),
    );
    const started = performance.now();
    const { browser } = this.#world.gateway;
    await eventually('published', async () => (await browser.fetch(`${name}.localhost`)).status === 200);
    const elapsed = performance.now() - started;
    await applied;
    return elapsed;
  }

  /** Milliseconds from a token in hand, on a machine whose agent runs, to the first answer of a service elsewhere. */
  async join(): Promise<number> {
    const name = this.#places.shift();
    if (name === undefined) throw new Error('no place is left');
    const token = await this.#world.invite(name);
    const machine = await this.#world.addMachine(name);
    try {
      const started = performance.now();
      await this.#world.client(name).join({ token });
      const address = await eventually('web is listed', () => this.#world.serviceAddress(name, 'web'));
      await eventually('web answers', () => firstAnswer(address));
      return performance.now() - started;
    } finally {
      await machine[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#world[Symbol.asyncDispose]();
    await this.#service[Symbol.asyncDispose]();
  }
}

export const moatLife: Subject = {
  name: 'moat',
  missing: () => Promise.resolve(undefined),
  async start({ signal }: BenchContext) {
    const server = createServer((_, response) => response.end(BODY)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const service = {
      async [Symbol.asyncDispose]() {
        server.closeAllConnections();
        server.close();
        await once(server, 'close');
      },
    };
    const life = new LifeOfMoat(new World(), service);
    const onAbort = (): void => void life[Symbol.asyncDispose]();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await life.grow(port);
    } catch (error) {
      await life[Symbol.asyncDispose]();
      throw error;
    }
    return life;
  },
};

async function firstAnswer(address: { host: string; port: number }): Promise<boolean> {
  const socket = connect(address.port, address.host);
  try {
    await once(socket, 'connect');
    socket.write('GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n');
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    return chunk.toString('latin1').startsWith('HTTP/1.1 200');
  } finally {
    socket.destroy();
  }
}
