/**
 * What runs over WireGuard goes on while the world changes: a machine roams, a router gets another address, relays, anchors
 * and agents are killed. The long form has the relays and anchors.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { eventually, full } from '../e2e/machine.ts';
import { labSkip } from './internet.ts';
import { pictured } from './picture.ts';
import { Transfer, startSource } from './transfer.ts';
import { TunnelWorld, type TunnelMember, DIRECT_MS } from './tunnel-world.ts';

const SOURCE = { port: 100, target: 9100 } as const;
/** Of the anchors, in addresses that lead through them. */
const HOSTS = ['/203.0.113.1/', '/203.0.113.2/'];
/** Milliseconds without a byte when who passed packets on was killed. */
const REHOMED_MS = 5000;
const LONG: Readonly<Record<string, TunnelMember>> = {
  'relay-1': { address: 90, ipv6: true, relay: true },
  'relay-2': { address: 91, ipv6: true, relay: true },
  'edm-1': { nat: 'edm' },
  'edm-2': { nat: 'edm' },
  blocked: { nat: 'blocked' },
};

suite('a transfer over WireGuard', { skip: labSkip('wg', 'wireguard-go') }, () => {
  const world = new TunnelWorld();
  const { internet } = world;

  before(async () => {
    await world.start({
      members: { ana: { nat: 'eim' }, ben: { nat: 'eim' }, ...(full ? LONG : {}) },
      expose: [String(SOURCE.target)],
      services: { source: { on: ['tag:all'], port: SOURCE.port, target: `127.0.0.1:${SOURCE.target}` } },
      access: [{ from: ['tag:all'], to: ['echo-tcp', 'echo-udp', 'source'] }],
    });
    for (const name of ['ben', ...(full ? ['edm-2'] : [])]) {
      await startSource(world.place(name).machine, SOURCE.target);
    }
  });

  after(() => world[Symbol.asyncDispose]());

  test('goes on while its machine roams, and when the other router gets another address', (t) =>
    pictured(internet, 'roaming', async () => {
      await reached('ana', 'ben', 'direct');
      const transfer = take('ana', 'ben');
      await flows(transfer);
      internet.addRouter('cafe', { kind: 'eim' });
      let since = Date.now();
      internet.roam('ana', 'cafe');
      await flows(transfer);
      t.diagnostic(`elsewhere: nothing came for ${transfer.stall(since)} ms`);
      await reached('ana', 'ben', 'direct');
      since = Date.now();
      internet.renumber('ben', 210);
      await flows(transfer);
      t.diagnostic(`another address: nothing came for ${transfer.stall(since)} ms`);
      await transfer.whole();
    }));

  test('does not notice that all agents and anchors are killed, and those that start again adopt what stands', (t) =>
    pictured(internet, 'killed', async () => {
      await reached('ana', 'ben', 'direct');
      const { interface: device } = await world.status('ana');
      const index = indexOf(device ?? '');
      const transfer = take('ana', 'ben');
      await flows(transfer);
      const since = Date.now();
      await Promise.all([...world.places.values()].map(({ daemon }) => daemon.kill('SIGKILL')));
      await flows(transfer);
      await Promise.all([...world.places.keys()].map((name) => world.restart(name)));
      await transfer.whole();
      t.diagnostic(`nothing came for ${transfer.stall(since)} ms at most`);
      assert.equal(indexOf(device ?? ''), index, 'the same interface');
      await eventually('it is known again', async () => (await world.peer('ana', 'ben')).path === 'direct', DIRECT_MS);
      assert.equal(await world.ask('ana', 'ben'), 'ben');
    }));

  test('finds another relay when its own is killed', { skip: full ? false : 'MOAT_TEST=full' }, (t) =>
    pictured(internet, 'relay', async () => {
      const { forwarder } = await reached('edm-1', 'edm-2', 'forwarded');
      const transfer = take('edm-1', 'edm-2');
      await flows(transfer);
      const since = Date.now();
      await world.place(forwarder ?? '').daemon.kill('SIGKILL');
      await flows(transfer);
      const stall = transfer.stall(since);
      t.diagnostic(`nothing came for ${stall} ms`);
      await transfer.whole();
      await world.restart(forwarder ?? '');
      assert.ok(stall < REHOMED_MS, `${stall} ms`);
    }),
  );

  test('finds another anchor when that of its link is killed', { skip: full ? false : 'MOAT_TEST=full' }, (t) =>
    pictured(internet, 'anchor', async () => {
      await reached('blocked', 'ben', 'riding');
      const transfer = take('blocked', 'ben');
      await flows(transfer);
      const stalls: number[] = [];
      for (const anchor of ['anchor-1', 'anchor-2']) {
        const since = Date.now();
        await world.place(anchor).daemon.kill('SIGKILL');
        await flows(transfer);
        stalls.push(transfer.stall(since));
        await world.restart(anchor);
        await eventually(
          'both keep places again',
          async () => {
            const states = await Promise.all(['blocked', 'ben'].map((name) => world.place(name).client.status()));
            return states.every(({ addresses }) =>
              HOSTS.every((host) => addresses.some((each) => each.includes(host))),
            );
          },
          40_000,
        );
      }
      t.diagnostic(`nothing came for ${stalls.join(' and ')} ms`);
      await transfer.whole();
      assert.ok(Math.max(...stalls) < REHOMED_MS, `${stalls.join()} ms`);
    }),
  );

  /** Waits until packets go that way. */
  async function reached(from: string, to: string, way: string): ReturnType<TunnelWorld['peer']> {
    return eventually(
      `${from} reaches ${to} ${way}`,
      async () => {
        await world.ask(from, to);
        const peer = await world.peer(from, to);
        return peer.path === way ? peer : undefined;
      },
      DIRECT_MS,
    );
  }

  function take(to: string, from: string): Transfer {
    return new Transfer(world.place(to).machine, { host: world.address(from), port: SOURCE.port });
  }

  /** Waits for some more of it. */
  async function flows(transfer: Transfer): Promise<void> {
    const before = transfer.bytes;
    await eventually(
      'the transfer goes on',
      async () => transfer.bytes > before + 500_000 || !transfer.running,
      30_000,
    );
    assert.ok(transfer.running, 'it is not over');
  }

  /** Number of an interface on Ana's machine: another one would have another. */
  function indexOf(device: string): string {
    return internet.read('ana', 'cat', `/sys/class/net/${device}/ifindex`);
  }
});
