/**
 * Private networks as WireGuard interfaces, by real agents on hosts of their own: services by name and address, nothing
 * else, revoked at once, and packets that go on while no agent runs.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { eventually, type Machine } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import { Internet, labSkip } from './internet.ts';

const run = promisify(execFile);
const HOSTS: Readonly<Record<string, number>> = { owner: 10, web: 20, db: 30, laptop: 40 };
/** Answers with what it got, after its own name. */
const echo = (name: string, port: number): string =>
  `require('node:net').createServer((s) => { s.on('error', () => {}); s.write('${name}:'); s.pipe(s); }).listen(${port}, '127.0.0.1')`;

suite('a network as WireGuard interfaces', { skip: labSkip() }, () => {
  let internet: Internet;
  const world = new World({ namespaceOf: (machine) => internet.namespace(machine) });
  const flags = (name: string): { flags: string[] } => ({
    flags: ['--listen', `/ip4/203.0.113.${HOSTS[name]}/tcp/4410`, '--link-port', '4411'],
  });
  const addresses = new Map<string, string>();

  before(async () => {
    internet = new Internet();
    for (const [name, address] of Object.entries(HOSTS)) internet.addHost(name, { address });
    await world.grow({
      name: 'shop',
      plane: 'auto',
      meetsAt: '/ip4/203.0.113.10/tcp/4410',
      members: {
        owner: { keeper: true, flags: [...flags('owner').flags, '--anchor'] },
        web: { ...flags('web'), expose: ['7001'] },
        db: { ...flags('db'), expose: ['7000'] },
        laptop: { ...flags('laptop'), expose: ['7002'] },
      },
      services: {
        db: { on: ['db'], port: 5432, target: '127.0.0.1:7000' },
        web: { on: ['web'], port: 80, target: '127.0.0.1:7001' },
        files: { on: ['laptop'], port: 2049, target: '127.0.0.1:7002' },
      },
      access: [
        { from: ['web'], to: ['db', 'files'] },
        { from: ['laptop'], to: ['web', 'db'] },
      ],
    });
    world.machine('db').program(process.execPath, ['-e', echo('db', 7000)]);
    world.machine('web').program(process.execPath, ['-e', echo('web', 7001)]);
    world.machine('laptop').program(process.execPath, ['-e', echo('files', 7002)]);
    for (const name of ['web', 'db']) await world.machine(name).ok(['wireguard', 'up']);
    const { places } = await world.client('owner').deployment('shop');
    for (const { name, ipv4 } of places) addresses.set(name, ipv4);
  });

  after(async () => {
    for (const name of ['web', 'db']) await world.machines.get(name)?.run(['wireguard', 'down']);
    await world[Symbol.asyncDispose]();
    internet[Symbol.dispose]();
  });

  /** What a program on `machine` gets back from `host:port`; rejects when nothing answers. */
  async function ask(machine: Machine | string, host: string, port: number, text = 'x'): Promise<string> {
    const name = typeof machine === 'string' ? machine : machine.name;
    const script = `const s = require('node:net').connect(${port}, '${host}', () => s.end('${text}'));
      s.setTimeout(3000, () => process.exit(2)); s.on('error', (e) => { console.error(e.code); process.exit(1); }); s.pipe(process.stdout);`;
    const netns = ['netns', 'exec', internet.namespace(name)];
    return (await run('ip', [...netns, process.execPath, '-e', script], { timeout: 10_000 })).stdout;
  }

  const address = (name: string): string => addresses.get(name) ?? '';

  test('a granted service is reached at its member, and no other port of it', async () => {
    await eventually(
      'an answer over the interface',
      async () => (await ask('web', address('db'), 5432)) === 'db:x',
      30_000,
    );
    await assert.rejects(ask('web', address('db'), 7000));
    await assert.rejects(ask('db', address('web'), 80));
  });
});
