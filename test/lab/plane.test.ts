/**
 * Private networks as WireGuard interfaces, by real agents on hosts of their own: services by name and address, nothing
 * else, revoked at once, and packets that go on while no agent runs.
 */
import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { eventually, type Machine, within, full } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import { Internet, labSkip } from './internet.ts';

const run = promisify(execFile);
const HOSTS: Readonly<Record<string, number>> = { owner: 10, web: 20, db: 30, laptop: 40 };
/** Answers with what it got, after its own name. */
const echo = (name: string, port: number): string =>
  `require('node:net').createServer((s) => { s.on('error', () => {}); s.write('${name}:'); s.pipe(s); }).listen(${port}, '127.0.0.1')`;

/** Made by an agent, whose mounts are its own here, as under systemd: others see an empty file of that name. */
const BOX = `moat-box-${process.pid}`;

suite('a network as WireGuard interfaces', { skip: labSkip() }, () => {
  let internet: Internet;
  const world = new World({ namespaceOf: (machine) => internet.namespace(machine) });
  const flags = (name: string): { flags: string[] } => ({
    flags: ['--listen', `/ip4/203.0.113.${HOSTS[name]}/tcp/4410`, '--link-port', '4411'],
  });
  const addresses = new Map<string, string>();
  const children = new Set<ChildProcess>();

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
    for (const child of children) child.kill('SIGKILL');
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

  /** What `moat run -- sh -c SCRIPT` on a machine prints. */
  async function runThere(machine: string, script: string, ...flags: string[]): Promise<string> {
    const daemon = world.machine(machine).spawn(['run', ...flags, '--', 'sh', '-c', script]);
    await once(daemon.child, 'close');
    return daemon.output.trim();
  }

  test('a granted service is reached at its member, by address and by name, and no other port of it', async () => {
    await eventually(
      'an answer over the interface',
      async () => (await ask('web', address('db'), 5432)) === 'db:x',
      30_000,
    );
    await assert.rejects(ask('web', address('db'), 7000));
    await assert.rejects(ask('db', address('web'), 80));
    const found = await runThere('web', 'getent hosts db.shop.internal; echo $MOAT_DB_PORT');
    assert.match(found, new RegExp(`^${address('db')} .*db\\.shop\\.internal\\n5432$`));
    const { peers, state, interface: name } = await world.client('web').wireguard('shop');
    assert.equal(state, 'up');
    assert.match(name ?? '', /^moat[a-z2-7]{10}$/);
    assert.ok(
      peers.some(({ member, handshakeAt, received }) => member === 'db' && handshakeAt !== null && received > 0),
    );
  });

  test('members with and without an interface reach each other', async () => {
    // laptop joined with a key and was never told `wireguard up`: its services are reached by links, by the same names.
    const files = await runThere('web', 'getent hosts files.shop.internal');
    assert.match(files, /^127\./);
    assert.equal(await ask('web', files.split(' ')[0] ?? '', 2049), 'files:x');
    const { host, port } = await world.serviceAddress('laptop', 'db');
    assert.match(host, /^127\./);
    assert.equal(await ask('laptop', host, port), 'db:x');
  });

  test('in a namespace of its own a member has this network and nothing else', async () => {
    const laptop = world.machine('laptop');
    await laptop.ok(['wireguard', 'up', '--netns', BOX]);
    const inside = (script: string): Promise<string> => runThere('laptop', script, '--as', 'laptop');
    assert.equal(
      await inside('ip route show default; ip -6 route show default; ip route get 203.0.113.10 2>&1 | head -1'),
      'RTNETLINK answers: Network is unreachable',
    );
    await assert.rejects(ask('laptop', address('db'), 5432), 'nothing of it is outside');
    // By name, from the hosts file and from the DNS in there, over the interface once its members were met.
    const node = `${process.execPath} -e`;
    const resolve = `${node} "require('node:dns').resolve4('db.shop.internal', (e, a) => console.log(e ? e.code : a.join()))"`;
    await eventually('db over the interface', async () => (await inside(resolve)).endsWith(address('db')), 30_000);
    const talk = `${node} "const s = require('node:net').connect(5432, 'db.shop.internal', () => s.end('x')); s.pipe(process.stdout)"`;
    assert.equal(await inside(talk), 'db:x');
    assert.match(await inside(resolve.replace('db.shop.internal', 'example.com')), /REFUSED|ENOTFOUND|ESERVFAIL/);
    // What it offers is what listens in there.
    const server = laptop.spawn(['run', '--as', 'laptop', '--', process.execPath, '-e', echo('inside', 7002)]);
    const found = async (): Promise<string> =>
      (await runThere('web', 'getent hosts files.shop.internal')).split(' ')[0] ?? '';
    await eventually('files over the interface', async () => (await found()) === address('laptop'), 40_000);
    assert.equal(await ask('web', address('laptop'), 2049), 'inside:x');
    await server.kill('SIGTERM');
    await laptop.ok(['wireguard', 'down']);
    const { host, port } = await world.serviceAddress('laptop', 'db');
    assert.equal(await ask('laptop', host, port), 'db:x');
  });

  test('agents that are killed take no packet with them, and the next ones change nothing', async () => {
    const stream = await openStream(address('db'), 5432);
    assert.equal(await stream.echo('before'), 'before');
    const before = await world.client('web').wireguard('shop');
    await Promise.all(['web', 'db'].map((name) => world.agent(name).kill('SIGKILL')));
    for (const text of ['one', 'two', 'three']) assert.equal(await stream.echo(text), text);
    await Promise.all(['web', 'db'].map((name) => world.restart(name)));
    const after = await eventually('the interface adopted', async () => {
      const status = await world.client('web').wireguard('shop');
      return status.state === 'up' && status;
    });
    assert.equal(await stream.echo('after'), 'after');
    assert.deepEqual([after.interface, after.port, after.key], [before.interface, before.port, before.key]);
    const [was, is] = [before, after].map(({ peers }) => peers.find(({ member }) => member === 'db'));
    assert.ok(Date.parse(is?.handshakeAt ?? '') >= Date.parse(was?.handshakeAt ?? ''));
    stream.close();
  });

  test('what the owners take away is cut within two seconds, also of a stream that runs', async () => {
    const stream = await openStream(address('db'), 5432);
    assert.equal(await stream.echo('x'), 'x');
    const cut = eventually(
      'the stream is cut',
      async () => (await stream.echo('y', full ? 300 : 2_000)) === undefined,
      60_000,
    );
    let cutAt = 0;
    void cut.then(() => (cutAt = Date.now()));
    await world.writeFile({ access: [{ from: ['laptop'], to: ['web', 'db'] }] });
    await world.machine('owner').ok(['apply', '--yes']);
    const appliedAt = Date.now();
    await cut;
    assert.ok(cutAt - appliedAt < within(2_000), `cut ${cutAt - appliedAt} ms after the version was taken`);
    await eventually('nothing new is let in', () =>
      ask('web', address('db'), 5432).then(
        () => false,
        () => true,
      ),
    );
    stream.close();
  });

  /** A connection of a program on web that sends back what the service echoed. */
  async function openStream(host: string, port: number): Promise<Stream> {
    const script = `const s = require('node:net').connect(${port}, '${host}');
      s.on('data', (d) => process.stdout.write(d)); process.stdin.on('data', (d) => s.write(d));
      s.on('error', () => process.exit(1)); s.on('close', () => process.exit(0));`;
    const netns = ['netns', 'exec', internet.namespace('web')];
    const child = spawn('ip', [...netns, process.execPath, '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    children.add(child);
    let got = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (got += text));
    await eventually('the service greets', async () => got.includes('db:'));
    return {
      async echo(text, timeoutMs = 5_000) {
        got = '';
        child.stdin.write(text);
        try {
          await eventually('an echo', async () => got.includes(text), timeoutMs);
          return got;
        } catch {
          return undefined;
        }
      },
      close: () => void child.kill('SIGKILL'),
    };
  }
});

interface Stream {
  /** What came back; undefined when nothing did in time. */
  echo(text: string, timeoutMs?: number): Promise<string | undefined>;
  close(): void;
}
