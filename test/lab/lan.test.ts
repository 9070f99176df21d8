/** Two laptops on one LAN with nothing else: no anchor, no gateway, no way out. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { createAgentClient, type AgentClient } from '@moat/admin-api';
import { stringify } from 'yaml';
import { Machine, eventually } from '../e2e/machine.ts';
import { Internet, labSkip } from './internet.ts';

const ECHO = `require('node:net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(7000, '127.0.0.1')`;

suite('two laptops on one LAN', { skip: labSkip() }, () => {
  let internet: Internet;
  let ana: Machine;
  let ben: Machine;

  before(async () => {
    internet = new Internet();
    internet.addHost('ana', { address: 11 });
    internet.addHost('ben', { address: 12 });
    for (const name of ['ana', 'ben']) internet.joinMulticast(name);
    ana = await Machine.create('ana', { namespace: internet.namespace('ana') });
    ben = await Machine.create('ben', { namespace: internet.namespace('ben') });
    await Promise.all([ana.startAgent(), ben.startAgent()]);
  });

  after(async () => {
    await Promise.all([ana, ben].map((machine) => machine[Symbol.asyncDispose]()));
    internet[Symbol.dispose]();
  });

  const clientOf = (machine: Machine): AgentClient =>
    createAgentClient({ socketPath: machine.path('state', 'agent.sock') });

  /** What a program on Ben's laptop gets back from Ana's service. */
  async function ask(): Promise<string> {
    const { services } = await clientOf(ben).deployment('shop');
    const { host = '', port = 0 } = services.find(({ name }) => name === 'db')?.local ?? {};
    const script = `const s = require('node:net').connect(${port}, '${host}', () => s.write('across'));
      s.setTimeout(5000, () => process.exit(2)); s.on('error', () => process.exit(1));
      s.on('data', (d) => { process.stdout.write(d); process.exit(0); }); s.on('close', () => process.exit(3));`;
    const program = ben.program(process.execPath, ['-e', script]);
    await once(program.child, 'close');
    return program.output;
  }

  test('one joins by the other, directly, and reaches its service', async () => {
    await ana.ok(['key', 'new', '--plain']);
    const { peerId } = await clientOf(ana).status();
    const file = {
      version: 1,
      name: 'shop',
      anchors: [],
      members: { ana: { node: peerId, keeper: true }, ben: {} },
      services: { db: { on: ['ana'], port: 5432, target: '127.0.0.1:7000' } },
      access: [{ from: ['ben'], to: ['db'] }],
    };
    await ana.write('moat.yaml', stringify(file));
    await ana.ok(['apply', '--yes']);
    await ana.ok(['node', 'expose', '7000', '--to', 'shop']);
    ana.program(process.execPath, ['-e', ECHO]);
    const { json } = await ana.ok(['invite', 'ben']);
    await ben.ok(['join', '-'], String(json['token']));
    await eventually('the service answers', async () => (await ask()) === 'across');
    assert.equal((await clientOf(ben).ping('shop', { target: 'db' })).path, 'direct');
  });

  test('after both got other addresses they find each other by multicast, and nothing else', async () => {
    internet.renumber('ana', 21);
    internet.renumber('ben', 22);
    await eventually('the service answers again', async () => (await ask()) === 'across', 60_000);
    const { pathReason } = await clientOf(ben).ping('shop', { target: 'db' });
    assert.match(pathReason, /203\.0\.113\.2[12]:/);
  });

  test('addresses that are gone are no longer told', async () => {
    const { addresses } = await clientOf(ana).status();
    assert.ok(
      addresses.some((address) => address.includes('/203.0.113.21/')),
      addresses.join(),
    );
    assert.ok(!addresses.some((address) => address.includes('/203.0.113.11/')), addresses.join());
  });

  test('an address that comes while they are connected is told at once, over the connection that stands', async () => {
    internet.addAddress('ana', 31);
    await eventually('ben knows it', async () => {
      const { keepers } = await clientOf(ben).deployment('shop');
      return keepers.some((keeper) => keeper.includes('/203.0.113.31/'));
    });
  });
});
