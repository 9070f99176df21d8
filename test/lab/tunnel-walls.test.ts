/**
 * A member turns hostile: its agent is dead, its own rules are gone, and its WireGuard sends whatever it likes. What it may
 * reach it reaches until it is taken out; nothing else ever arrives, as captures at every place show.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { eventually, within } from '../e2e/machine.ts';
import type { Capture } from './capture.ts';
import { labSkip } from './internet.ts';
import { PacketProbe, type Ask } from './packet-probe.ts';
import { pictured } from './picture.ts';
import { ECHO, TunnelWorld, DIRECT_MS } from './tunnel-world.ts';

/** In the LAN of Ben's machine, and somewhere on the internet. */
const NAS = { own: '192.168.77.1', host: '192.168.77.2' } as const;
const WWW = '203.0.113.200';
/** Of Ben's machine, on every address; nobody was granted it. */
const UNGRANTED = 9200;
/** Milliseconds from the owner's command until the packets of one who was taken out are dropped. */
const REVOKED_MS = within(2_000);

suite('a hostile member on WireGuard', { skip: labSkip('wg', 'wireguard-go', 'tcpdump') }, () => {
  const world = new TunnelWorld();
  const { internet } = world;
  let inside = '';
  let device = '';
  const devices = new Map<string, string>();

  before(async () => {
    await world.start({
      members: { mallory: { address: 20 }, ben: { address: 30 }, cy: { address: 40, stranger: true } },
    });
    inside = world.address('mallory');
    internet.addHost('www', { address: 200 });
    internet.addNeighbour('ben', 'nas', NAS);
    internet.read('ben', 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    for (const name of ['www', 'nas']) {
      const probe = await PacketProbe.start(internet.namespace(name));
      for (const kind of ['tcp', 'udp'] as const) await probe.serve(kind, '0.0.0.0', 80, name);
    }
    for (const kind of ['tcp', 'udp'] as const) {
      await world.place('ben').probe.serve(kind, '0.0.0.0', UNGRANTED, 'ben');
    }
    // by itself, as her agent will be dead
    await eventually(
      'packets go directly',
      async () =>
        (await world.ask('mallory', 'ben')) === 'ben' && (await world.peer('mallory', 'ben')).path === 'direct',
      DIRECT_MS,
    );
    for (const name of ['mallory', 'ben']) devices.set(name, (await world.status(name)).interface ?? '');
    device = devices.get('mallory') ?? '';
  });

  after(() => world[Symbol.asyncDispose]());

  test('who has no grant is no peer', () =>
    pictured(internet, 'unlisted', async () => {
      const { key } = await world.status('cy');
      assert.ok(key.public !== null);
      for (const name of ['ben', 'mallory']) {
        assert.ok(!peersOf(name).includes(key.public), `${name} has it`);
      }
    }));

  test('nothing that was not granted arrives anywhere', () =>
    pictured(internet, 'walls', async () => {
      const {
        key: { public: key },
      } = await world.status('ben');
      assert.ok(key);
      await world.place('mallory').daemon.kill('SIGKILL');
      await internet.disarm('mallory');
      internet.read('mallory', 'wg', 'set', device, 'peer', key, 'allowed-ips', '0.0.0.0/0,::/0');
      internet.ip('mallory', [
        `route add ${NAS.host} dev ${device}`,
        `route add ${NAS.own} dev ${device}`,
        `route add ${WWW} dev ${device}`,
        `addr add 10.1.2.3/32 dev ${device}`,
      ]);
      const watched = ['nas', 'www', 'ben'];
      const filter = `(dst host ${NAS.host} or dst host ${WWW} or port ${UNGRANTED} or src host 10.1.2.3) and not arp`;
      const captures: Capture[] = [];
      for (const name of watched) captures.push(await internet.capture(name, filter));
      const asks: readonly Omit<Ask, 'kind'>[] = [
        { host: NAS.host, port: 80, from: inside },
        { host: WWW, port: 80, from: inside },
        { host: NAS.own, port: UNGRANTED, from: inside },
        { host: world.address('ben'), port: UNGRANTED },
        { host: world.address('ben'), port: ECHO.target },
        { host: world.address('ben'), port: ECHO.port, from: '10.1.2.3' },
      ];
      for (const kind of ['tcp', 'udp'] as const) {
        for (const ask of asks) {
          const heard = await world.place('mallory').probe.ask({ kind, waitMs: 300, ...ask });
          assert.ok(!['nas', 'www', 'ben'].includes(heard), `${kind} ${ask.host}:${ask.port}: ${heard}`);
        }
      }
      // its packets do arrive at Ben's interface: what is granted still works
      assert.equal(await world.ask('mallory', 'ben'), 'ben');
      for (const [i, capture] of captures.entries()) {
        const lines = (await capture.stop()).filter((line) => isFurther(line, device));
        assert.deepEqual(lines, [], watched[i]);
      }
    }));

  test('who is taken out is cut off, and is no peer any more', (t) =>
    pictured(internet, 'revoked', async () => {
      const { key } = await world.peer('ben', 'mallory');
      assert.ok(peersOf('ben').includes(key));
      const { probe } = world.place('mallory');
      const held = await probe.hold({ host: world.address('ben'), port: ECHO.port });
      assert.equal(await probe.echo(held), 'ben');
      await world.apply({ members: { ben: { address: 30 }, cy: { address: 40, stranger: true } } });
      const since = performance.now();
      await eventually(
        'its stream is cut',
        async () => (await probe.echo(held, { waitMs: 150 })) === 'silence',
        REVOKED_MS,
      );
      await eventually(
        'its packets are',
        async () => (await world.ask('mallory', 'ben', { waitMs: 150 })) === 'silence',
      );
      const cut = performance.now() - since;
      await eventually('it is no peer', async () => !peersOf('ben').includes(key));
      const gone = performance.now() - since;
      t.diagnostic(`after the owner's command: cut ${cut.toFixed(0)} ms, no peer ${gone.toFixed(0)} ms`);
      assert.ok(gone < REVOKED_MS, `${gone} ms`);
    }));

  /** As WireGuard itself has them; sockets of wireguard-go are seen from all namespaces, so the interface is named. */
  function peersOf(name: string): string {
    return internet.read(name, 'wg', 'show', devices.get(name) ?? '', 'peers');
  }
});

/** A packet that went beyond the interface of the tunnel, where it may arrive and is dropped. */
function isFurther(line: string, device: string): boolean {
  return !line.includes(` ${device} `) && !/ moat\w+ /.test(line);
}
