/** The lab itself: each kind of NAT is what it says, seen by plain UDP sockets. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, full } from '../e2e/machine.ts';
import { Internet, labSkip } from './internet.ts';
import type { NatKind } from './nat.ts';
import { pictured } from './picture.ts';
import { UdpProbe } from './udp-probe.ts';
import type { Flow } from './wire.ts';

const [ONE, TWO] = [
  { host: '203.0.113.1', port: 4001 },
  { host: '203.0.113.2', port: 4002 },
];
const PORT = 5000;

interface Expected {
  readonly kind: NatKind;
  /** Where others see the host's first socket. */
  readonly address: string;
  /** Whether a second destination sees the same port. */
  readonly isSteady: boolean;
  /** Who gets in: whoever was sent something, whoever knows the port, or anybody at all times. */
  readonly admits: 'asked' | 'known' | 'all';
}

const KINDS: readonly Expected[] = [
  { kind: 'open', address: '203.0.113.10', isSteady: true, admits: 'all' },
  { kind: 'eim', address: '203.0.113.11', isSteady: true, admits: 'asked' },
  { kind: 'edm', address: '203.0.113.12', isSteady: false, admits: 'asked' },
  { kind: 'cone', address: '203.0.113.13', isSteady: true, admits: 'known' },
  { kind: 'one2one', address: '203.0.113.14', isSteady: true, admits: 'all' },
  { kind: 'double', address: '203.0.113.15', isSteady: true, admits: 'asked' },
  { kind: 'short', address: '203.0.113.16', isSteady: true, admits: 'asked' },
];

suite('kinds of NAT', { skip: labSkip('tcpdump') }, () => {
  let internet: Internet;
  let one: UdpProbe;
  let two: UdpProbe;

  before(async () => {
    internet = new Internet();
    internet.addHost('one', { address: 1, ipv6: true });
    internet.addHost('two', { address: 2, ipv6: true });
    one = await UdpProbe.bind(internet.namespace('one'), ONE.port);
    two = await UdpProbe.bind(internet.namespace('two'), TWO.port);
  });

  after(() => internet[Symbol.dispose]());

  for (const { kind, address, isSteady, admits } of KINDS) {
    test(`${kind}: ${isSteady ? 'one mapping' : 'a mapping for each destination'}, admits ${admits}`, () =>
      pictured(internet, kind, async () => {
        internet.addHost(kind, { nat: kind, address: Number(address.split('.').at(-1)) });
        const host = await UdpProbe.bind(internet.namespace(kind), PORT);
        if (admits === 'all') {
          one.send('unasked', { host: address, port: PORT });
          assert.equal((await host.next()).text, 'unasked');
        }
        host.send('a', ONE);
        const seen = await one.next();
        assert.equal(seen.host, address);
        // the answer leaves when the router has had the stranger's packet: what may pass arrives in this order
        two.send('unasked', seen);
        await knocked(kind, TWO);
        one.send('answer', seen);
        assert.equal((await host.next()).text, admits === 'asked' ? 'answer' : 'unasked');
        host.send('b', TWO);
        const second = await two.next();
        assert.equal(second.host, address);
        assert.equal(second.port === seen.port, isSteady, `${seen.port} and ${second.port}`);
      }));
  }

  test('blocked: UDP ends at the router, TCP passes', () =>
    pictured(internet, 'blocked', async () => {
      internet.addHost('blocked', { nat: 'blocked' });
      const host = await UdpProbe.bind(internet.namespace('blocked'), PORT);
      host.send('a', ONE);
      await passes('blocked', 'wire', ({ protocol }) => protocol === 'udp');
      await refusedBy('blocked', ONE.host);
      assert.equal(internet.line('blocked').count(({ protocol }) => protocol === 'udp').packets, 0);
    }));

  test('ipv6: no translation, admits asked, and no IPv4', () =>
    pictured(internet, 'ipv6', async () => {
      internet.addHost('ipv6', { nat: 'ipv6', address: 17 });
      const host = await UdpProbe.bind(internet.namespace('ipv6'), PORT, 6);
      const [one6, two6] = await Promise.all(
        ['one', 'two'].map((name) => UdpProbe.bind(internet.namespace(name), 4006, 6)),
      );
      assert.ok(one6 && two6);
      host.send('a', { host: '2001:db8::1', port: 4006 });
      const seen = await one6.next();
      assert.match(seen.host, /^2001:db8:\d+::2$/);
      assert.equal(seen.port, PORT);
      two6.send('unasked', seen);
      await knocked('ipv6', { host: '[2001:db8::2]', port: 4006 });
      one6.send('answer', seen);
      assert.equal((await host.next()).text, 'answer');
      assert.equal(internet.line('ipv6').count(({ from }) => !from.startsWith('[') && from.includes('.')).packets, 0);
    }));

  test('a short router forgets what another still knows', () =>
    pictured(internet, 'forgets', async () => {
      const forgets = full ? undefined : { asked: 1, answered: 2 };
      internet.addRouter('brief', { kind: 'short', ...(forgets ? { forgets } : {}) });
      const late = await Promise.all(
        (['brief', 'eim-r'] as const).map(async (router) => {
          const name = `${router}-guest`;
          internet.addHost(name, { behind: router });
          const host = await UdpProbe.bind(internet.namespace(name), PORT + 1);
          host.send('a', ONE);
          const seen = await one.next();
          one.send('answer', seen);
          await host.next();
          return { host, seen, router };
        }),
      );
      await delay(full ? 22_000 : 3_000); // the time that the router forgets in
      for (const { host, seen, router } of late) {
        const before = internet.wire(router).count().packets;
        one.send('late', seen);
        await eventually('it came to the router', async () => internet.wire(router).count().packets > before);
        host.send('again', ONE);
        one.send('fresh', await one.next());
        assert.equal((await host.next()).text, router === 'brief' ? 'fresh' : 'late');
      }
    }));

  test('hosts behind one router reach each other without it, and share its address', () =>
    pictured(internet, 'shared', async () => {
      internet.addRouter('office', { kind: 'eim', address: 30 });
      const [ana, ben] = await Promise.all(
        ['ana', 'ben'].map(async (name, i) => {
          const address = internet.addHost(name, { behind: 'office' });
          return { address, probe: await UdpProbe.bind(internet.namespace(name), PORT + i) };
        }),
      );
      assert.ok(ana && ben);
      ana.probe.send('hello', { host: ben.address, port: PORT + 1 });
      assert.equal((await ben.probe.next()).host, ana.address);
      for (const { probe } of [ana, ben]) {
        probe.send('a', ONE);
        assert.equal((await one.next()).host, '203.0.113.30');
      }
    }));

  test('a lossy line loses about what it should', () =>
    pictured(internet, 'loss', async () => {
      internet.addHost('lossy', { nat: 'eim' });
      const host = await UdpProbe.bind(internet.namespace('lossy'), PORT);
      host.send('neighbours have met', ONE);
      await one.next();
      internet.loss('lossy', 30);
      for (let i = 0; i < 1000; i++) host.send(String(i), { ...ONE, port: 9 });
      await eventually('all were sent', async () => internet.wire('lossy').count().packets > 1000);
      // counted on the line: a program that is kept waiting would lose some more
      const { packets: came } = internet.line('lossy').count(({ to }) => to.endsWith(':9'));
      assert.ok(came > 600 && came < 800, `${came} of 1000`);
    }));

  test('who roams is seen elsewhere, with the socket it had; so is one whose router got another address', () =>
    pictured(internet, 'roaming', async () => {
      internet.addHost('phone', { nat: 'eim', address: 40 });
      internet.addRouter('cafe', { kind: 'edm', address: 41 });
      const phone = await UdpProbe.bind(internet.namespace('phone'), PORT);
      const seen = async (): Promise<string> => {
        phone.send('here', ONE);
        return (await one.next()).host;
      };
      assert.equal(await seen(), '203.0.113.40');
      internet.renumber('phone', 42);
      assert.equal(await seen(), '203.0.113.42');
      internet.roam('phone', 'cafe');
      assert.equal(await seen(), '203.0.113.41');
      const open = internet.roam('phone', 'public');
      assert.equal(await seen(), open);
    }));

  test('a capture has what passed', async () => {
    const capture = await internet.capture('one', `udp port ${ONE.port}`);
    two.send('caught', ONE);
    assert.equal((await one.next()).text, 'caught');
    const lines = await eventually('the packet is seen', async () => capture.lines.length > 0 && capture.stop());
    assert.match(lines.join(), /203\.0\.113\.2\.4002 > 203\.0\.113\.1\.4001/);
  });

  test('a case that fails leaves a picture of who sent what where', async () => {
    const failure = pictured(internet, 'a case', async () => assert.equal(1, 2));
    const error: Error = await failure.then(
      () => assert.fail(),
      (reason: Error) => reason,
    );
    const [, svg = ''] = /(\S+a-case\.svg)/.exec(error.message) ?? [];
    assert.ok(existsSync(svg), error.message);
    const text = readFileSync(svg.replace(/svg$/, 'txt'), 'utf8');
    rmSync(dirname(svg), { recursive: true });
    assert.match(text, /- double-c \(eim\): .*\n(.*\n)*\s+- double-r \(eim\): .*\n(.*\n)*\s+- double: up \d+ packets/);
    assert.match(text, /udp 203\.0\.113\.11:5000 -> 203\.0\.113\.1:4001 {2}1 packets/);
    assert.match(text, /- phone before it moved/);
  });

  /** Waits until a packet of `from` came to the line of `name`. */
  async function knocked(name: string, from: { readonly host: string; readonly port: number }): Promise<void> {
    const sender = `${from.host}:${from.port}`;
    await passes(name, 'line', (flow) => flow.from === sender);
  }

  async function passes(name: string, where: 'wire' | 'line', matches: (flow: Flow) => boolean): Promise<void> {
    await eventually(`it passes the ${where} of ${name}`, async () => internet[where](name).count(matches).packets > 0);
  }

  /** Dials a TCP port where nobody listens, and waits for the word of it. */
  async function refusedBy(name: string, host: string): Promise<void> {
    const program = `require('node:net').connect(9, '${host}').on('error', (e) => process.exit(e.code === 'ECONNREFUSED' ? 0 : 1))`;
    const child = spawn('ip', ['netns', 'exec', internet.namespace(name), process.execPath, '-e', program]);
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  }
});
