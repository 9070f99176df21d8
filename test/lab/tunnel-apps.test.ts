/**
 * Programs as they come with Debian, between two machines that reach each other over WireGuard: PostgreSQL, Redis, DNS and
 * iperf3, a network of containers on top (VXLAN), and how fast that is beside plain `wg` set up by hand in the same run.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, existsSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { eventually, full } from '../e2e/machine.ts';
import { labSkip } from './internet.ts';
import { pictured } from './picture.ts';
import { TunnelWorld, DIRECT_MS } from './tunnel-world.ts';

const run = promisify(execFile);
const BIN = dirname(globSync('/usr/lib/postgresql/*/bin/initdb')[0] ?? '/nonexistent/initdb');
const UNPRIVILEGED = ['--reuid=65534', '--regid=65534', '--clear-groups'];
/** Port inside to where it listens. */
const SERVICES = { postgres: [5432, 25432], redis: [6379, 26379], dns: [53, 25353], iperf: [5201, 25201] } as const;
const VXLAN_PORT = 8472;
/** Of plain `wg`'s throughput. */
const RATIO = 0.97;
/** Of a second each way: what else the machine does at a time falls on both, or on one round of many. */
const ROUNDS = full ? 25 : 3;
const PLAIN = { port: 51_999, ana: '10.99.0.1', ben: '10.99.0.2' } as const;

suite('programs over WireGuard', { skip: labSkip('wg', 'wireguard-go') }, () => {
  const world = new TunnelWorld();
  const { internet } = world;
  let folder = '';
  let ben = '';

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'moat-apps-'));
    chmodSync(folder, 0o777);
    const service = (name: keyof typeof SERVICES, protocol: 'tcp' | 'udp'): object => {
      const [port, target] = SERVICES[name];
      return { on: ['ben'], port, protocol, target: `127.0.0.1:${target}` };
    };
    const services = {
      postgres: service('postgres', 'tcp'),
      redis: service('redis', 'tcp'),
      'dns-udp': service('dns', 'udp'),
      'dns-tcp': service('dns', 'tcp'),
      'iperf-tcp': service('iperf', 'tcp'),
      'iperf-udp': service('iperf', 'udp'),
      vxlan: { on: ['tag:all'], port: VXLAN_PORT, protocol: 'udp', target: `127.0.0.1:${VXLAN_PORT}` },
    };
    await world.start({
      members: { ana: { address: 20 }, ben: { address: 30 } },
      expose: [...Object.values(SERVICES).map(([, target]) => String(target)), String(VXLAN_PORT)],
      services,
      access: [{ from: ['tag:all'], to: ['echo-tcp', 'echo-udp', ...Object.keys(services)] }],
    });
    ben = world.address('ben');
    await eventually(
      'packets go directly',
      async () => (await world.ask('ana', 'ben')) === 'ben' && (await world.peer('ana', 'ben')).path === 'direct',
      DIRECT_MS,
    );
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A program on Ana's machine, and what it wrote. */
  async function onAna(file: string, ...args: string[]): Promise<string> {
    const namespace = internet.namespace('ana');
    const { stdout } = await run('ip', ['netns', 'exec', namespace, file, ...args], {
      timeout: 20_000,
      maxBuffer: 2 ** 23,
    });
    return stdout.trim();
  }

  test('PostgreSQL', { skip: lacks(join(BIN, 'initdb'), '/usr/bin/psql') }, () =>
    pictured(internet, 'postgres', async () => {
      const data = join(folder, 'data');
      const initdb = [...UNPRIVILEGED, join(BIN, 'initdb'), '-D', data, '-U', 'moat', '-A', 'trust', '--no-sync'];
      execFileSync('setpriv', initdb, { stdio: 'ignore', cwd: folder });
      // who asks is seen by the address inside the network
      appendFileSync(join(data, 'pg_hba.conf'), 'host all all 10.0.0.0/8 trust\n');
      const args = ['-D', data, '-p', String(SERVICES.postgres[1]), '-k', folder, '-h', '127.0.0.1'];
      world.place('ben').machine.program('setpriv', [...UNPRIVILEGED, join(BIN, 'postgres'), ...args]);
      const psql = ['/usr/bin/psql', '-h', ben, '-U', 'moat', '-d', 'postgres', '-tA', '-c'] as const;
      const sum = 'select sum(i) from generate_series(1, 100000) i';
      assert.equal(await eventually('it answers', () => onAna(...psql, sum)), '5000050000');
      const rows = await onAna(...psql, "select repeat('x', 1000) from generate_series(1, 2000)");
      assert.equal(rows.length, 2000 * 1001 - 1);
    }),
  );

  test('Redis', { skip: lacks('/usr/bin/redis-server', '/usr/bin/redis-cli') }, () =>
    pictured(internet, 'redis', async () => {
      const args = [
        '--port',
        String(SERVICES.redis[1]),
        '--bind',
        '127.0.0.1',
        '--protected-mode',
        'no',
        '--dir',
        folder,
      ];
      world.place('ben').machine.program('redis-server', args);
      const redis = (...command: string[]): Promise<string> => onAna('redis-cli', '-h', ben, ...command);
      assert.equal(await eventually('it answers', () => redis('set', 'far', 'away')), 'OK');
      assert.equal(await redis('get', 'far'), 'away');
    }),
  );

  test('DNS, by UDP and TCP', { skip: lacks('/usr/sbin/dnsmasq', '/usr/bin/dig') }, () =>
    pictured(internet, 'dns', async () => {
      const listen = ['--listen-address=127.0.0.1', '--bind-interfaces', `--port=${SERVICES.dns[1]}`];
      const records = ['--address=/db.example/192.0.2.7', `--txt-record=long.example,${'t'.repeat(200)}`];
      world
        .place('ben')
        .machine.program('dnsmasq', ['--no-daemon', '--no-resolv', '--no-hosts', ...listen, ...records]);
      const dig = (...question: string[]): Promise<string> =>
        onAna('dig', `@${ben}`, '+short', '+tries=1', ...question);
      assert.equal(await eventually('it answers', () => dig('db.example')), '192.0.2.7');
      assert.equal(await dig('+tcp', 'db.example'), '192.0.2.7');
      assert.equal((await dig('TXT', 'long.example')).length, 202);
      const { machine } = world.place('ana');
      const { json: explained } = await machine.ok(['explain', 'ana', 'dns-udp']);
      assert.deepEqual([explained['allowed'], explained['works'], explained['code']], [true, null, null]);
      const { json: pinged } = await machine.ok(['ping', 'dns-udp', '-c', '1']);
      assert.deepEqual(
        (pinged['pings'] as { member: string }[]).map(({ member }) => member),
        ['ben'],
      );
    }),
  );

  test('VXLAN, as between nodes of a container cluster', () =>
    pictured(internet, 'vxlan', async () => {
      const names = ['ana', 'ben'] as const;
      for (const [i, name] of names.entries()) {
        const [own, other] = [world.address(name), world.address(names[1 - i] ?? '')];
        const type = `type vxlan id 7 dstport ${VXLAN_PORT} local ${own} remote ${other}`;
        internet.ip(name, [
          `link add flannel ${type}`,
          'link set flannel mtu 1300 up',
          `addr add 10.42.0.${i + 1}/24 dev flannel`,
        ]);
      }
      await world.place('ben').probe.serve('tcp', '10.42.0.2', 8080, 'pod');
      const heard = await eventually('a pod answers', async () => {
        const answer = await world
          .place('ana')
          .probe.ask({ kind: 'tcp', host: '10.42.0.2', port: 8080, waitMs: 2_000 });
        return answer === 'pod' ? answer : undefined;
      });
      assert.equal(heard, 'pod');
      assert.equal(await onAna('sh', '-c', `head -c 3000000 /dev/zero | md5sum`), await overVxlan());
    }));

  /** Digest of as much as came from Ana's side to Ben's by a TCP connection between the pods. */
  async function overVxlan(): Promise<string> {
    const sink = world.place('ben').machine.program(process.execPath, [
      '-e',
      `const hash = require('node:crypto').createHash('md5');
      require('node:net').createServer((s) => s.on('data', (d) => hash.update(d)).on('end', () => { console.log(hash.digest('hex') + '  -'); process.exit(); }))
        .listen(8081, '10.42.0.2', () => console.log('ready'));`,
    ]);
    await eventually('it listens', async () => sink.output.includes('ready'));
    const send = `const s = require('node:net').connect(8081, '10.42.0.2', () => s.end(Buffer.alloc(3000000)));`;
    await onAna(process.execPath, '-e', send);
    await eventually('it has come', async () => !sink.running);
    return sink.output.replace('ready', '').trim();
  }

  test('iperf3: UDP, and TCP nearly as fast as plain WireGuard', { skip: lacks('/usr/bin/iperf3') }, (t) =>
    pictured(internet, 'iperf', async () => {
      world.place('ben').machine.program('iperf3', ['-s', '-p', String(SERVICES.iperf[1]), '-B', '127.0.0.1']);
      const udp = await eventually('it answers', () => iperf(ben, SERVICES.iperf[0], '-u', '-b', '20M', '-t', '2'));
      t.diagnostic(`UDP at 20 Mbit/s: ${udp.lost.toFixed(2)} % lost`);
      assert.ok(udp.lost < (full ? 2 : 20), `${udp.lost} % lost`);
      await plainWireguard();
      world.place('ben').machine.program('iperf3', ['-s', '-p', '5202', '-B', PLAIN.ben]);
      await eventually('plain wg answers', () => iperf(PLAIN.ben, 5202, '-t', '1'));
      for (const [what, host, port] of full
        ? ([
            ['plain', PLAIN.ben, 5202],
            ['Moat', ben, SERVICES.iperf[0]],
          ] as const)
        : []) {
        const { mbits, lost } = await iperf(host, port, '-u', '-b', '100M', '-t', '2');
        t.diagnostic(`UDP at 100 Mbit/s: ${what} ${mbits.toFixed(0)} Mbit/s, ${lost.toFixed(2)} % lost`);
      }
      const plain = async (): Promise<number> => (await iperf(PLAIN.ben, 5202, '-t', '1')).mbits;
      const moat = async (): Promise<number> => (await iperf(ben, SERVICES.iperf[0], '-t', '1')).mbits;
      const rounds: { readonly plain: number; readonly moat: number; readonly ratio: number }[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        // Who goes first changes.
        const first = round % 2 === 0 ? await plain() : await moat();
        const second = round % 2 === 0 ? await moat() : await plain();
        const [by, through] = round % 2 === 0 ? [first, second] : [second, first];
        rounds.push({ plain: by, moat: through, ratio: through / by });
      }
      const medianOf = (what: 'plain' | 'moat' | 'ratio'): number =>
        rounds.map((round) => round[what]).toSorted((a, b) => a - b)[ROUNDS >> 1] ?? 0;
      const median = medianOf('ratio');
      t.diagnostic(`plain ${medianOf('plain').toFixed(0)}, Moat ${medianOf('moat').toFixed(0)} Mbit/s`);
      t.diagnostic(`${median.toFixed(3)} of plain WireGuard`);
      if (full) assert.ok(median >= RATIO, `${median} of plain WireGuard`);
    }),
  );

  async function iperf(
    host: string,
    port: number,
    ...more: string[]
  ): Promise<{ readonly mbits: number; readonly lost: number }> {
    const out = await onAna('iperf3', '-J', '-c', host, '-p', String(port), ...more);
    const { end } = JSON.parse(out) as {
      readonly end: { readonly sum_received?: Sum; readonly sum?: Sum };
    };
    const sum = end.sum_received ?? end.sum;
    return { mbits: (sum?.bits_per_second ?? 0) / 1e6, lost: end.sum?.lost_percent ?? 0 };
  }

  /** The same two machines by hand: keys, addresses, peers, nothing else. */
  async function plainWireguard(): Promise<void> {
    const keys = new Map<string, { readonly file: string; readonly publicKey: string }>();
    for (const name of ['ana', 'ben']) {
      const key = execFileSync('wg', ['genkey']).toString();
      const file = join(folder, `${name}.key`);
      writeFileSync(file, key, { mode: 0o600 });
      keys.set(name, { file, publicKey: execFileSync('wg', ['pubkey'], { input: key }).toString().trim() });
    }
    for (const [name, other, outside] of [
      ['ana', 'ben', '203.0.113.30'],
      ['ben', 'ana', '203.0.113.20'],
    ] as const) {
      const device = `plain${process.pid}${name}`.slice(-15);
      const { machine } = world.place(name);
      machine.program('wireguard-go', ['-f', device]);
      await eventually('it stands', async () => existsSync(`/var/run/wireguard/${device}.sock`));
      const peer = ['peer', keys.get(other)?.publicKey ?? '', 'endpoint', `${outside}:${PLAIN.port}`];
      const own = ['private-key', keys.get(name)?.file ?? '', 'listen-port', String(PLAIN.port)];
      internet.read(name, 'wg', 'set', device, ...own, ...peer, 'allowed-ips', `${PLAIN[other]}/32`);
      internet.ip(name, [`addr add ${PLAIN[name]}/24 dev ${device}`, `link set ${device} mtu ${mtuOf(name)} up`]);
    }
  }

  /** That of Moat's own interface: the same packets. */
  function mtuOf(name: string): string {
    const [device = ''] = internet.read(name, 'sh', '-c', 'ls /sys/class/net | grep ^moat').split('\n');
    return internet.read(name, 'cat', `/sys/class/net/${device}/mtu`).trim();
  }
});

interface Sum {
  readonly bits_per_second: number;
  readonly lost_percent?: number;
}

function lacks(...files: readonly string[]): string | false {
  const missing = files.filter((file) => !existsSync(file));
  return missing.length > 0 ? `${missing.join(' and ')} is not installed` : false;
}
