/** Two networks with the same range on one machine: one of them stands under another range, and nothing crosses. */
import type { TunnelSpec } from '@moat/core';
import { createWireguardKey } from '@moat/wireguard';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { Internet, labSkip } from './internet.ts';
import { TunnelsProcess } from './tunnels-process.ts';

const id = process.pid.toString(36);
const NETWORK = '10.77.0.0/16';
const REMAP = { network: NETWORK, as: '100.80.0.0/16' };
/** Says who it is and whom it sees, once a connection. */
const SERVER = `const [name, host, port] = process.argv.slice(1);
require('node:net').createServer((socket) => socket.end(name + ' sees ' + socket.remoteAddress))
  .listen(Number(port), host, () => console.log('ready'));`;
const CLIENT = `const [host, port] = process.argv.slice(1);
const socket = require('node:net').connect({ host, port: Number(port), timeout: 2000 });
socket.on('data', (data) => process.stdout.write(data)).on('error', (error) => process.stdout.write(error.code));
socket.on('timeout', () => { process.stdout.write('silence'); socket.destroy(); });`;

suite('a network under another range', { skip: labSkip('wg', 'wireguard-go', 'nsenter', 'unshare') }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'moat-lab-'));
  const tunnels: TunnelsProcess[] = [];
  let internet: Internet;
  let here: TunnelsProcess;
  const keys = {
    first: createWireguardKey(),
    second: createWireguardKey(),
    one: createWireguardKey(),
    two: createWireguardKey(),
  };
  const hosts = { here: '', one: '', two: '' };
  let second: TunnelSpec;

  const start = (name: string): Promise<TunnelsProcess> =>
    TunnelsProcess.start(internet.namespace(name), join(directory, name));
  const serve = async (namespace: string, name: string, host: string, port: number): Promise<void> => {
    const program = [process.execPath, '-e', SERVER, '--', name, host, String(port)];
    const child = spawn('ip', ['netns', 'exec', internet.namespace(namespace), ...program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data', { signal: AbortSignal.timeout(10_000) });
  };
  const ask = (namespace: string, host: string, port: number): string =>
    execFileSync(
      'ip',
      ['netns', 'exec', internet.namespace(namespace), process.execPath, '-e', CLIENT, '--', host, String(port)],
      {
        encoding: 'utf8',
      },
    );
  const inside = (namespace: string, ...command: readonly string[]): string =>
    execFileSync('ip', ['netns', 'exec', internet.namespace(namespace), ...command], { encoding: 'utf8' });

  before(async () => {
    internet = new Internet();
    hosts.here = internet.addHost('here', { address: 21 });
    hosts.one = internet.addHost('one', { address: 22 });
    hosts.two = internet.addHost('two', { address: 23 });
    const common = { namespace: null, mtu: 1380, routes: [NETWORK, 'fd00:77::/64'], rules: { chains: '' } };
    const peer = (publicKey: string, last: number, net = 77) => ({
      publicKey,
      allowedIps: [`10.77.0.${last}/32`, `fd00:${net}::${last}/128`],
    });
    const first: TunnelSpec = {
      ...common,
      name: `mr1${id}`,
      port: 21_301,
      privateKey: keys.first.privateKey,
      addresses: ['10.77.0.2/32', 'fd00:77::2/128'],
      peers: [peer(keys.one.publicKey, 3)],
    };
    const name = `mr2${id}`;
    second = {
      ...common,
      name,
      port: 21_302,
      privateKey: keys.second.privateKey,
      addresses: ['10.77.0.2/32', 'fd00:78::2/128'],
      routes: [NETWORK, 'fd00:78::/64'],
      peers: [peer(keys.two.publicKey, 3, 78)],
      remap: REMAP,
      rules: {
        chains: `chain targets {
          type nat hook prerouting priority -100; policy accept;
          iifname "${name}" ip saddr 100.80.0.3 ip daddr 100.80.0.2 tcp dport 80 dnat ip to 127.0.0.1:8080
        }
        chain arriving {
          type filter hook input priority 0; policy accept;
          iifname "${name}" ct state established accept
          iifname "${name}" ct status dnat accept
          iifname "${name}" drop
        }`,
      },
    };
    const far = (at: 1 | 2, key: { readonly privateKey: string }, other: string): TunnelSpec => ({
      ...common,
      name: `mf${at}${id}`,
      port: 21_303,
      privateKey: key.privateKey,
      addresses: ['10.77.0.3/32', `fd00:${76 + at}::3/128`],
      routes: [NETWORK, `fd00:${76 + at}::/64`],
      peers: [peer(other, 2, 76 + at)],
    });
    const all = await Promise.all(['here', 'one', 'two'].map(start));
    tunnels.push(...all);
    const [a, b, c] = all;
    assert.ok(a && b && c);
    here = a;
    await here.tunnels.apply(first);
    assert.ok((await here.tunnels.apply(second)).includes('10.77.0.0/16 stands as 100.80.0.0/16'));
    await b.tunnels.apply(far(1, keys.one, keys.first.publicKey));
    await c.tunnels.apply(far(2, keys.two, keys.second.publicKey));
    await here.tunnels.setPeer(first.name, keys.one.publicKey, { endpoint: { host: hosts.one, port: 21_303 } });
    await here.tunnels.setPeer(second.name, keys.two.publicKey, { endpoint: { host: hosts.two, port: 21_303 } });
    await serve('one', 'one', '::', 80);
    await serve('two', 'two', '::', 80);
    await serve('here', 'here', '127.0.0.1', 8080);
  });

  after(async () => {
    await Promise.all(
      tunnels.map(async (machine) => {
        for (const name of await machine.tunnels.list()) await machine.tunnels.remove(name);
        machine[Symbol.dispose]();
      }),
    );
    internet[Symbol.dispose]();
    rmSync(directory, { recursive: true });
  });

  test('both are reached, each by its own addresses', () => {
    assert.equal(ask('here', '10.77.0.3', 80), 'one sees ::ffff:10.77.0.2');
    assert.equal(ask('here', '100.80.0.3', 80), 'two sees ::ffff:10.77.0.2');
    assert.equal(ask('here', 'fd00:78::3', 80), 'two sees fd00:78::2');
  });

  test('a service on loopback is reached from the remapped network, and nothing else of the machine', async () => {
    assert.equal(ask('two', '10.77.0.2', 80), 'here sees 100.80.0.3');
    await serve('here', 'open', '0.0.0.0', 81);
    assert.equal(ask('two', '10.77.0.2', 81), 'silence');
    assert.equal(inside('here', 'sysctl', '-n', 'net.ipv4.ip_forward').trim(), '0');
  });

  test('a killed agent takes nothing with it; the next finds nothing to do, changes what it is told, and leaves nothing', async () => {
    await here.kill();
    assert.equal(ask('here', '100.80.0.3', 80), 'two sees ::ffff:10.77.0.2');
    here = await start('here');
    tunnels[0] = here;
    assert.deepEqual(await here.tunnels.apply(second), []);
    assert.equal((await here.tunnels.peers(second.name)).length, 1);
    const moved = { network: NETWORK, as: '100.81.0.0/16' };
    await here.tunnels.apply({ ...second, remap: moved });
    assert.equal(ask('here', '100.81.0.3', 80), 'two sees ::ffff:10.77.0.2');
    await here.tunnels.remove(second.name);
    assert.ok(!inside('here', 'ip', '-o', 'link').includes(second.name));
    assert.equal(ask('here', '10.77.0.3', 80), 'one sees ::ffff:10.77.0.2');
    assert.deepEqual(await here.tunnels.list(), [`mr1${id}`]);
  });
});
