/** WireGuard interfaces on real wireguard-go: packets flow whatever becomes of the processes that set them up. */
import { isMoatError, type TunnelSpec } from '@moat/core';
import { createWireguardKey } from '@moat/wireguard';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, full } from '../e2e/machine.ts';
import { Internet, labSkip } from './internet.ts';
import { TunnelsProcess } from './tunnels-process.ts';
import { UdpProbe } from './udp-probe.ts';
import { UdpStream } from './udp-stream.ts';

const [alice, bob] = [createWireguardKey(), createWireguardKey()];
const id = process.pid.toString(36);
const [ALICE, BOB, ECHO] = [`mla${id}`, `mlb${id}`, 7000];

const chains = (name: string, ports: string): string => `chain arriving {
  type filter hook input priority 0; policy accept;
  iifname "${name}" ct state established accept
  iifname "${name}" udp dport { ${ports} } accept
  iifname "${name}" drop
}`;

suite('WireGuard interfaces', { skip: labSkip('wg', 'wireguard-go', 'nsenter', 'tcpdump') }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'moat-lab-'));
  let internet: Internet;
  let here: TunnelsProcess;
  let there: TunnelsProcess;
  let stream: UdpStream;
  let specA: TunnelSpec;
  let specB: TunnelSpec;

  const start = (name: string): Promise<TunnelsProcess> =>
    TunnelsProcess.start(internet.namespace(name), join(directory, name));
  const inside = (namespace: string, ...command: readonly string[]): string =>
    execFileSync('ip', ['netns', 'exec', internet.namespace(namespace), ...command], { encoding: 'utf8' });

  before(async () => {
    internet = new Internet();
    const [hostA, hostB] = [internet.addHost('a', { address: 11 }), internet.addHost('b', { address: 12 })];
    // No cable leads here: what arrives came by the tunnel.
    internet.addHost('member', { address: 13 });
    inside('member', 'ip', 'link', 'del', 'wan');
    const common = { mtu: 1380, routes: ['10.77.0.0/16', 'fd00:77::/64'] };
    specA = {
      ...common,
      name: ALICE,
      namespace: null,
      port: 21_101,
      privateKey: alice.privateKey,
      addresses: ['10.77.0.2/32', 'fd00:77::2/128'],
      peers: [{ publicKey: bob.publicKey, allowedIps: ['10.77.0.3/32', '10.77.0.9/32', 'fd00:77::3/128'] }],
      rules: { chains: chains(ALICE, '1') },
    };
    specB = {
      ...common,
      name: BOB,
      namespace: `/run/netns/${internet.namespace('member')}`,
      port: 21_102,
      privateKey: bob.privateKey,
      addresses: ['10.77.0.3/32', 'fd00:77::3/128'],
      peers: [{ publicKey: alice.publicKey, allowedIps: ['10.77.0.2/32', 'fd00:77::2/128'] }],
      rules: { chains: chains(BOB, String(ECHO)) },
    };
    [here, there] = await Promise.all([start('a'), start('b')]);
    await Promise.all([here.tunnels.apply(specA), there.tunnels.apply(specB)]);
    await here.tunnels.setPeer(ALICE, bob.publicKey, { endpoint: { host: hostB, port: specB.port } });
    await there.tunnels.setPeer(BOB, alice.publicKey, { endpoint: { host: hostA, port: specA.port } });
    stream = await UdpStream.start(internet.namespace('a'), internet.namespace('member'), '10.77.0.3', ECHO);
  });

  after(async () => {
    await here.tunnels.remove(ALICE);
    await there.tunnels.remove(BOB);
    for (const resource of [stream, here, there, internet]) resource[Symbol.dispose]();
    rmSync(directory, { recursive: true });
  });

  test('packets go between a host and a namespace that has no other way', async () => {
    await stream.more(100);
    const [peer] = await here.tunnels.peers(ALICE);
    assert.ok(peer?.handshakeAt && peer.received > 100_000);
    assert.equal(inside('member', 'sysctl', '-n', `net.ipv4.conf.${BOB}.route_localnet`).trim(), '1');
    assert.equal(inside('b', 'sysctl', '-n', 'net.ipv4.ip_forward').trim(), '0');
  });

  test('killed processes take nothing with them, and the next ones find nothing to do', async () => {
    const { sent, received } = await stream.more(10);
    await Promise.all([here.kill(), there.kill()]);
    const later = await stream.more(300);
    [here, there] = await Promise.all([start('a'), start('b')]);
    assert.deepEqual(await here.tunnels.apply(specA), []);
    assert.deepEqual(await there.tunnels.apply(specB), []);
    const last = await stream.more(10);
    // A datagram or two is under way at any time.
    assert.ok(
      Math.abs(last.sent - sent - (last.received - received)) < 10,
      JSON.stringify([sent, received, later, last]),
    );
  });

  test('peers and allowed IPs change under traffic, and nothing is bounced', async () => {
    const other = createWireguardKey().publicKey;
    const [peer] = await here.tunnels.peers(ALICE);
    const link = (): string => inside('a', 'ip', '-o', 'link', 'show', 'dev', ALICE).split(' qdisc ')[0] ?? '';
    const linkBefore = link();
    const capture = await internet.capture('a', `udp port ${specA.port} and (udp[4:2] = 156 or udp[4:2] = 100)`);
    const first = await stream.more(50);
    for (let round = 0; round < 10; round += 1) {
      const moved = [
        { publicKey: bob.publicKey, allowedIps: ['10.77.0.3/32', 'fd00:77::3/128'] },
        { publicKey: other, allowedIps: ['10.77.0.9/32'] },
      ];
      const done = await here.tunnels.apply({ ...specA, peers: moved });
      assert.equal(done.length, 2);
      assert.equal((await here.tunnels.apply(specA)).length, 2);
    }
    const last = await stream.more(50);
    const lost = Math.abs(last.sent - first.sent - (last.received - first.received));
    assert.ok(lost < (full ? 10 : 100), `${lost} of ${last.sent - first.sent} datagrams lost`);
    assert.equal(link(), linkBefore);
    const handshakes = (await capture.stop()).filter((line) => line !== '');
    assert.deepEqual(handshakes, [], 'nobody had to shake hands again');
    const [same] = await here.tunnels.peers(ALICE);
    assert.deepEqual([same?.handshakeAt, same?.endpoint], [peer?.handshakeAt, peer?.endpoint]);
  });

  test('a probe is seen at once, from the port of the interface', async () => {
    const socket = await UdpProbe.bind(internet.namespace('b'), 21_200);
    const { publicKey } = createWireguardKey();
    await here.tunnels.probe(ALICE, publicKey, { host: '203.0.113.12', port: 21_200 });
    assert.equal((await socket.next()).port, specA.port);
    await here.tunnels.probe(ALICE, publicKey, { host: '203.0.113.12', port: 21_200 });
    await socket.next();
    await here.kill();
    here = await start('a');
    assert.deepEqual(await here.tunnels.apply(specA), [`peer ${publicKey} removed`]);
  });

  test('after an error nothing passes, until an apply succeeds', async () => {
    const broken = { ...specB, rules: { chains: 'chain arriving { nonsense }' } };
    await assert.rejects(there.tunnels.apply(broken), (error) => isMoatError(error, 'TUNNEL_FAILED'));
    // What was under way comes first.
    let { received, sent } = await stream.count();
    await eventually('nothing more comes', async () => {
      const before = received;
      ({ received, sent } = await stream.count());
      return received === before;
    });
    await eventually('more is sent', async () => (await stream.count()).sent > sent + 100);
    const then = await stream.count();
    assert.ok(then.received <= received + 2, `${then.received - received} came back`);
    assert.deepEqual(await there.tunnels.apply(specB), ['packet rules replaced']);
    await stream.more(10);
  });

  test('rules that somebody flushed stand again at once, or are written by the next process', async () => {
    const tables = (): string => inside('member', 'nft', 'list', 'tables');
    inside('member', 'nft', 'flush', 'ruleset');
    await eventually('the table is back', async () => tables().includes(BOB));
    assert.deepEqual(await there.tunnels.apply(specB), []);
    await there.kill();
    inside('member', 'nft', 'flush', 'ruleset');
    there = await start('b');
    assert.deepEqual(await there.tunnels.apply(specB), ['packet rules replaced']);
  });

  test('rules that somebody flushed while no process of ours runs stand again at once', async () => {
    const tables = (): string => inside('a', 'nft', 'list', 'tables');
    const keepers = (): number =>
      inside('a', 'ps', '-eo', 'args')
        .split('\n')
        .filter((line) => line.includes(` moat-rules ${ALICE} `)).length;
    await here.kill();
    for (let round = 0; round < 2; round += 1) {
      inside('a', 'nft', 'flush', 'ruleset');
      await eventually('the table is back', async () => tables().includes(ALICE));
    }
    here = await start('a');
    assert.deepEqual(await here.tunnels.apply(specA), []);
    assert.ok(keepers() > 0);
    const name = `mlk${id}`;
    await here.tunnels.apply({ ...specA, name, port: 21_104, addresses: [], routes: [], peers: [] });
    await here.tunnels.remove(name);
    assert.ok(!tables().includes(name) && !inside('a', 'ps', '-eo', 'args').includes(` moat-rules ${name} `));
  });

  test('an interface whose wireguard-go was killed is made again', async () => {
    // A packet before there is an endpoint would hold the first handshake back for 5 s.
    stream[Symbol.dispose]();
    const pid = daemonOf(ALICE);
    assert.ok(pid);
    process.kill(pid, 'SIGKILL');
    await eventually('the interface is gone', async () => !inside('a', 'ip', '-o', 'link').includes(ALICE));
    assert.ok((await here.tunnels.apply(specA)).includes('interface created'));
    await here.tunnels.setPeer(ALICE, bob.publicKey, { endpoint: { host: '203.0.113.12', port: specB.port } });
    stream = await UdpStream.start(internet.namespace('a'), internet.namespace('member'), '10.77.0.3', ECHO);
    await stream.more(10);
  });

  test('wherever an apply is cut short, the next one brings the interface in line', async () => {
    const name = `mlc${id}`;
    const others = { addresses: ['10.78.0.3/32'], routes: ['10.78.0.0/16'], rules: { chains: chains(name, '1') } };
    const spec = { ...specB, ...others, name, port: 21_103 };
    for (let round = 0; round < (full ? 30 : 4); round += 1) {
      const cut = { ...spec, addresses: round % 2 === 0 ? spec.addresses : ['10.78.0.4/32'] };
      const dying = await start('b');
      // It never answers.
      void dying.tunnels.apply(cut);
      await delay((round * (full ? 5 : 40)) % 150);
      await dying.kill();
      await there.tunnels.apply({ ...spec, rules: { chains: chains(spec.name, String(round + 2)) } });
      assert.deepEqual(
        await there.tunnels.apply({ ...spec, rules: { chains: chains(spec.name, String(round + 2)) } }),
        [],
      );
      if (round % 3 === 2) await there.tunnels.remove(spec.name);
    }
    await there.tunnels.remove(spec.name);
  });

  test('nothing is left of an interface that is removed', async () => {
    assert.deepEqual(await here.tunnels.list(), [ALICE]);
    await Promise.all([here.tunnels.remove(ALICE), there.tunnels.remove(BOB)]);
    assert.deepEqual([await here.tunnels.list(), await there.tunnels.list()], [[], []]);
    for (const [namespace, name] of [
      ['a', ALICE],
      ['b', BOB],
      ['member', BOB],
    ] as const) {
      assert.ok(!inside(namespace, 'ip', '-o', 'link').includes(name));
      assert.ok(!inside(namespace, 'ip', 'route').includes('10.77'));
      assert.equal(inside(namespace, 'nft', 'list', 'tables'), '');
    }
    assert.deepEqual([daemonOf(ALICE), daemonOf(BOB)], [undefined, undefined]);
    assert.ok(!existsSync(`/var/run/wireguard/${ALICE}.sock`) && !existsSync(`/var/run/wireguard/${BOB}.sock`));
    assert.deepEqual([...readdirSync(join(directory, 'a')), ...readdirSync(join(directory, 'b'))], []);
  });
});

/** The wireguard-go of an interface. */
function daemonOf(name: string): number | undefined {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .find((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8') === `wireguard-go\0${name}\0`;
      } catch {
        return false;
      }
    });
}
