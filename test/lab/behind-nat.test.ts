/** Two homes behind routers that let nothing in, and one public machine: everything works, and mends after a cut. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { eventually } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import { Internet, labSkip } from './internet.ts';

const HOMES: Readonly<Record<string, string>> = { gateway: 'hub', owner: 'owner', app: 'app', 'db-1': 'db' };
const ECHO = `require('node:net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(7000, '127.0.0.1')`;

suite('homes behind NAT', { skip: labSkip() }, () => {
  let internet: Internet;
  const world = new World({
    gatewayAddress: '203.0.113.1',
    namespaceOf: (machine) => internet.namespace(HOMES[machine] ?? machine),
  });

  before(async () => {
    internet = new Internet();
    internet.addHost('hub', { address: 1 });
    internet.addHost('owner', { nat: 'eim', address: 10 });
    internet.addHost('app', { nat: 'eim', address: 20 });
    internet.addHost('db', { nat: 'eim', address: 30 });
    await world.startGateway();
    await world.grow({
      name: 'shop',
      members: { owner: { keeper: true }, app: {}, 'db-1': { expose: ['7000'] } },
      services: { db: { on: ['db-1'], port: 5432, target: '127.0.0.1:7000' } },
      access: [{ from: ['app'], to: ['db'] }],
    });
    world.machine('db-1').program(process.execPath, ['-e', ECHO]);
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
    internet[Symbol.dispose]();
  });

  /** What a program in the app's home gets back from the database. */
  async function askFromApp(): Promise<string> {
    const { host, port } = await world.serviceAddress('app', 'db');
    const script = `const s = require('node:net').connect(${port}, '${host}', () => s.write('across'));
      s.setTimeout(5000, () => process.exit(2)); s.on('error', () => process.exit(1));
      s.on('data', (d) => { process.stdout.write(d); process.exit(0); }); s.on('close', () => process.exit(3));`;
    const program = world.machine('app').program(process.execPath, ['-e', script]);
    await once(program.child, 'close');
    return program.output;
  }

  test('members meet through the anchor and reach a granted service', async () => {
    await eventually('the database answers across', async () => (await askFromApp()) === 'across', 40_000);
    await eventually('the link is spliced', async () => {
      return (await world.client('app').ping('shop', { target: 'db' })).path === 'spliced';
    });
  });

  test('a cut line is noticed and mends by itself', async () => {
    internet.setLine('db', false);
    await assert.rejects(world.client('app').ping('shop', { target: 'db', timeoutMs: 8_000 }));
    internet.setLine('db', true);
    await eventually('the database answers again', async () => (await askFromApp()) === 'across', 90_000);
  });
});
