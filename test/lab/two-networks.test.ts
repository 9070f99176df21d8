/** Two private networks with the same addresses on one machine: both are reached by name, and nothing crosses. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { eventually } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import { Internet, labSkip } from './internet.ts';

const run = promisify(execFile);
const echo = (name: string): string =>
  `require('node:net').createServer((s) => { s.on('error', () => {}); s.end('${name}'); }).listen(7000, '127.0.0.1')`;

/** Each has its owner, who also offers the service, and the one machine that is in both. */
const NETWORKS = [
  { name: 'shop', owner: 'ana', address: 10 },
  { name: 'zoo', owner: 'ben', address: 20 },
] as const;

suite('two networks of one range on a machine', { skip: labSkip() }, () => {
  let internet: Internet;
  const worlds = NETWORKS.map(
    ({ owner }) => new World({ namespaceOf: (machine) => internet.namespace(machine === 'owner' ? owner : machine) }),
  );
  const [shop, zoo] = worlds as [World, World];

  before(async () => {
    internet = new Internet();
    internet.addHost('web', { address: 30 });
    const web = { flags: ['--listen', '/ip4/203.0.113.30/tcp/4410', '--link-port', '4411'] };
    await Promise.all(
      NETWORKS.map(async ({ name, owner, address }, i) => {
        internet.addHost(owner, { address });
        const at = `/ip4/203.0.113.${address}/tcp/4410`;
        const world = worlds[i] as World;
        await world.grow({
          name,
          plane: 'auto',
          meetsAt: at,
          ipv4: '10.77.0.0/16',
          members: {
            owner: { keeper: true, flags: ['--listen', at, '--link-port', '4411', '--anchor'] },
            web: { ...web, joins: name === 'shop' },
          },
          services: { db: { on: ['owner'], port: 5432, target: '127.0.0.1:7000' } },
          access: [{ from: ['web'], to: ['db'] }],
        });
        const machine = world.machine('owner');
        machine.program(process.execPath, ['-e', echo(name)]);
        await machine.ok(['node', 'expose', '7000', '--to', name]);
        await machine.ok(['wireguard', 'up']);
      }),
    );
    await shop.machine('web').ok(['join', '-', '--wait'], await zoo.invite('web'));
    for (const { name } of NETWORKS) await shop.machine('web').ok(['wireguard', 'up', '--network', name]);
  });

  after(async () => {
    for (const { name } of NETWORKS) await shop.machines.get('web')?.run(['wireguard', 'down', '--network', name]);
    for (const world of worlds) await world.machines.get('owner')?.run(['wireguard', 'down']);
    for (const world of worlds) await world[Symbol.asyncDispose]();
    internet[Symbol.dispose]();
  });

  async function inWeb(...command: string[]): Promise<string> {
    return (await run('ip', ['netns', 'exec', internet.namespace('web'), ...command], { timeout: 10_000 })).stdout;
  }

  async function addressOf(network: string): Promise<string> {
    const daemon = shop
      .machine('web')
      .spawn(['run', '--network', network, '--', 'getent', 'hosts', `db.${network}.internal`]);
    await once(daemon.child, 'close');
    return daemon.output.trim().split(/\s/)[0] ?? '';
  }

  test('names lead to each of them, one under another range', async () => {
    const statuses = await Promise.all(NETWORKS.map(({ name }) => shop.client('web').wireguard(name)));
    assert.deepEqual(
      statuses.map(({ state, remap }) => [state, remap?.network ?? null]),
      [
        ['up', null],
        ['up', '10.77.0.0/16'],
      ],
    );
    const as = statuses[1]?.remap?.as ?? '';
    const prefix = as.split('.').slice(0, 2).join('.');
    for (const [name, begins] of [
      ['shop', '10.77.'],
      ['zoo', `${prefix}.`],
    ] as const) {
      const address = await eventually(
        `db of ${name} over its interface`,
        async () => {
          const found = await addressOf(name);
          return found.startsWith(begins) && found;
        },
        40_000,
      );
      const script = `require('node:net').connect(5432, '${address}').setTimeout(4000, () => process.exit(1)).pipe(process.stdout)`;
      assert.equal(await inWeb(process.execPath, '-e', script), name);
    }
  });

  test('what was found stays over a restart', async () => {
    const before = await shop.client('web').wireguard('zoo');
    await shop.agent('web').kill('SIGTERM');
    await shop.restart('web');
    const after = await eventually('up again', async () => {
      const status = await shop.client('web').wireguard('zoo');
      return status.state === 'up' && status;
    });
    assert.deepEqual([after.remap, after.interface, after.port], [before.remap, before.interface, before.port]);
  });
});
