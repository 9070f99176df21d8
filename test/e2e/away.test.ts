/** Who is needed for what: owners away, every other machine down, no inbound port anywhere. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { freePort } from '@moat/testkit';
import { READY_MS, eventually, within } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

let echo: Server;
let echoPort = 0;

before(async () => {
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  echoPort = (echo.address() as AddressInfo).port;
});

after(() => {
  echo.close();
});

async function answers(address: { host: string; port: number }): Promise<boolean> {
  const socket = connect(address.port, address.host);
  try {
    await once(socket, 'connect');
    socket.write('ping');
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    return String(chunk) === 'ping';
  } finally {
    socket.destroy();
  }
}

suite('with a second keeper', () => {
  const world = new World();
  after(() => world[Symbol.asyncDispose]());

  test("a machine joins while the owner's is off", async () => {
    await world.startGateway();
    await world.grow({
      name: 'shop',
      members: {
        owner: { keeper: true },
        'keeper-2': { keeper: true },
        'db-1': { expose: [String(echoPort)] },
        laptop: { joins: false },
      },
      services: { db: { on: ['db-1'], port: 5432, target: `127.0.0.1:${echoPort}` } },
      access: [{ from: ['laptop'], to: ['db'] }],
    });
    // Pins the places taken by token: only a pinned keeper may witness.
    await world.apply();
    const token = await world.invite('laptop');
    const { version } = await world.client('owner').deployment('shop');
    await eventually('keeper-2 knows the invite', async () => {
      return (await world.client('keeper-2').deployment('shop')).version === version;
    });
    await world.agent('owner').kill('SIGTERM');
    await world.addMachine('laptop');
    await world.machine('laptop').ok(['join', '-', '--wait'], token);
    const address = await eventually('db is listed', () => world.serviceAddress('laptop', 'db'));
    assert.equal(await eventually('db answers', () => answers(address)), true);
  });
});

suite('with every other machine down', () => {
  const world = new World();
  after(() => world[Symbol.asyncDispose]());

  test('the agent serves from disk within 3 s', async () => {
    await world.grow({
      name: 'shop',
      members: { owner: { keeper: true }, app: { expose: [String(echoPort)] } },
      services: { local: { on: ['app'], port: 7000, target: `127.0.0.1:${echoPort}` } },
      access: [{ from: ['app'], to: ['local'] }],
    });
    const address = await eventually('local is listed', () => world.serviceAddress('app', 'local'));
    await eventually('local answers', () => answers(address));
    await world.agent('app').kill('SIGKILL');
    await world.agent('owner').kill('SIGKILL');
    const started = performance.now();
    const agent = world.spawnAgent('app');
    await eventually('local answers from disk', () => answers(address), READY_MS);
    const elapsedMs = performance.now() - started;
    assert.ok(elapsedMs < within(3_000), `took ${Math.round(elapsedMs)} ms\n${agent.output}`);
    const status = await world.machine('app').ok(['status']);
    assert.ok(status.stdout.includes('local'));
  });
});

suite('two nodes that accept no inbound connection', () => {
  const world = new World();
  let web: WebService;
  before(async () => {
    web = await startWebService('db-1');
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
    await web[Symbol.asyncDispose]();
  });

  test('meet through an anchor', async () => {
    await world.startGateway();
    await world.grow({
      name: 'shop',
      members: {
        owner: { keeper: true, inbound: false },
        app: { inbound: false },
        'db-1': { inbound: false, expose: [String(echoPort)] },
      },
      services: { db: { on: ['db-1'], port: 5432, target: `127.0.0.1:${echoPort}` } },
      access: [{ from: ['app'], to: ['db'] }],
    });
    const address = await eventually('db is listed', () => world.serviceAddress('app', 'db'));
    assert.equal(await eventually('db answers', () => answers(address), 30_000), true);
    // Its first way may be that of the overlay, where a splice takes too long.
    await eventually('it is spliced', async () => {
      const ping = await world.machine('app').ok(['ping', 'db']);
      return /"path":\s*"spliced"/.test(ping.stdout);
    });
  });
});

suite('a keeper that was killed and is back on other ports', () => {
  const world = new World();
  after(() => world[Symbol.asyncDispose]());

  test('is with its members again within seconds, with no anchor', async () => {
    await world.grow({
      name: 'shop',
      members: { owner: { keeper: true }, app: {}, 'db-1': { expose: [String(echoPort)] } },
      services: { db: { on: ['db-1'], port: 5432, target: `127.0.0.1:${echoPort}` } },
      access: [{ from: ['app'], to: ['db'] }],
    });
    const connected = async (): Promise<boolean> => {
      const { places } = await world.client('owner').deployment('shop');
      return places.every((place) => place.connected);
    };
    await eventually('all are connected', connected);
    // Addresses are written within a second of being learned.
    await wait(3_000);
    await world.agent('owner').kill('SIGKILL');
    const [port, linkPort] = [await freePort(), await freePort()];
    const started = performance.now();
    await world
      .machine('owner')
      .startAgent(['--no-mdns', '--listen', `/ip4/127.0.0.1/tcp/${port}`, '--link-port', String(linkPort)]);
    await eventually('all are connected again', connected, READY_MS);
    const elapsedMs = performance.now() - started;
    assert.ok(elapsedMs < within(15_000), `took ${Math.round(elapsedMs)} ms`);
  });
});
