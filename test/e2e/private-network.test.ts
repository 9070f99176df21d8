/** Workloads on different machines reach each other, as far as the contract says, and no further. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually } from './machine.ts';
import { World, objectsIn } from './world.ts';

const world = new World();
let echo: Server;

before(async () => {
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const target = `127.0.0.1:${(echo.address() as AddressInfo).port}`;
  await world.startGateway();
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true }, 'web-1': {}, 'db-1': { expose: [target.split(':')[1] ?? ''] } },
    services: {
      db: { on: ['db-1'], port: 5432, target },
      admin: { on: ['db-1'], port: 5433, target },
      ssh: { on: ['db-1'], port: 22, target: '127.0.0.1:22' },
    },
    access: [{ from: ['web-1'], to: ['db', 'ssh'] }],
  });
});

after(async () => {
  await world[Symbol.asyncDispose]();
  echo.close();
});

async function echoOnce(address: { host: string; port: number }, text: string): Promise<string> {
  const socket = connect(address.port, address.host);
  try {
    await once(socket, 'connect');
    socket.end(text);
    let answer = '';
    socket.setEncoding('utf8');
    for await (const chunk of socket as AsyncIterable<string>) answer += chunk;
    return answer;
  } finally {
    socket.destroy();
  }
}

suite('a private network of three machines', () => {
  test('a granted service answers on its loopback address, half-close included', async () => {
    const address = await eventually('db listed', () => world.serviceAddress('web-1', 'db'));
    assert.equal(address.port, 5432);
    assert.match(address.host, /^127\./);
    assert.equal(await eventually('db answers', async () => echoOnce(address, 'hello db')), 'hello db');
  });

  test('ping and explain name the path, the line and the version', async () => {
    const ping = await world.machine('web-1').ok(['ping', 'db', '--until-direct']);
    assert.equal(
      objectsIn(ping.json).some((o) => o['path'] === 'direct'),
      true,
      ping.stdout,
    );
    const allowed = await world.machine('web-1').ok(['explain', 'web-1', 'db']);
    assert.equal(allowed.json['allowed'], true, allowed.stdout);
    const denied = await world.machine('web-1').run(['explain', 'web-1', 'admin']);
    assert.equal(denied.json['allowed'], false, denied.stdout);
    assert.equal(denied.json['code'], 'GRANT_DENIED');
  });

  test('a service without a grant is refused by its code', async () => {
    const result = await world.machine('web-1').run(['ping', 'admin']);
    assert.equal(result.exitCode, 4, result.stdout + result.stderr);
    assert.equal(result.json['code'], 'GRANT_DENIED');
  });

  test('port 22 named by a contract but never exposed is refused by its code', async () => {
    const result = await world.machine('web-1').run(['ping', 'ssh']);
    assert.equal(result.exitCode, 4, result.stdout + result.stderr);
    assert.equal(result.json['code'], 'NOT_EXPOSED');
  });

  test('a used token is refused and changes nothing', async () => {
    await world.apply({ members: { owner: { keeper: true }, 'web-1': {}, 'db-1': {}, laptop: {} } });
    const token = await world.invite('laptop');
    const [first, second] = ['a', 'b'].map((suffix) => `laptop-${suffix}`);
    await world.addMachine(first ?? '');
    await world.addMachine(second ?? '');
    await world.machine(first ?? '').ok(['join', '-', '--wait'], token);
    const refused = await world.machine(second ?? '').run(['join', '-'], token);
    assert.equal(refused.exitCode, 4, refused.stdout + refused.stderr);
    assert.equal(refused.json['code'], 'INVITE_USED');
    // The rightful machine asks again and gets the same answer.
    await world.machine(first ?? '').ok(['join', '-', '--wait'], token);
  });

  test('an expired token is refused', async () => {
    await world.apply({ members: { owner: { keeper: true }, 'web-1': {}, 'db-1': {}, laptop: {}, phone: {} } });
    const token = await world.invite('phone', ['--expires', '1s']);
    await world.addMachine('phone');
    // For as long as it is good.
    await delay(1_000);
    const refused = await world.machine('phone').run(['join', '-'], token);
    assert.equal(refused.exitCode, 4, refused.stdout + refused.stderr);
    assert.match(String(refused.json['code']), /^(INVITE_EXPIRED|TOKEN_EXPIRED)$/);
  });
});
