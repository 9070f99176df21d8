import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { both, stateOf, twoBehind } from './paths-world.ts';
import type { Router } from './udp-world.ts';

const EVENTS = [
  'restart one',
  'restart two',
  'connections break',
  'packets lost',
  'router forgets one',
  'router forgets two',
  'one moves',
  'link down',
  'link up',
  'forwarder dies',
  'forwarder lives',
  'one sends',
  'two sends',
] as const;

const router = fc.constantFrom<Router>('none', 'eim', 'edm', 'blocked');
const storm = fc.array(fc.record({ event: fc.constantFrom(...EVENTS), thenMs: fc.integer({ min: 0, max: 3_000 }) }), {
  minLength: 2,
  maxLength: 12,
});
const runs = process.env['MOAT_TEST'] === 'full' ? 500 : 25;

test('whatever happens in which order, packets go both ways afterwards, by the best way there is', async () => {
  await fc.assert(
    fc.asyncProperty(router, router, storm, fc.integer(), async (a, b, events, seed) => {
      const { world, one, two } = await twoBehind(a, b);
      const forwarder = world.forwarder('203.0.113.3');
      one.forwarders = two.forwarders = [forwarder];
      let random = seed >>> 0;
      const chance = (): number => (random = (random * 1_664_525 + 1_013_904_223) >>> 0) / 2 ** 32;
      let moves = 0;
      for (const { event, thenMs } of events) {
        if (event === 'restart one') await one.restart();
        else if (event === 'restart two') await two.restart();
        else if (event === 'connections break') world.network.disconnect(one.peer, two.peer);
        else if (event === 'packets lost') world.udp.lose = () => chance() < 0.3;
        else if (event === 'router forgets one') one.host.router?.forgetAll();
        else if (event === 'router forgets two') two.host.router?.forgetAll();
        else if (event === 'link down') world.linksUp = false;
        else if (event === 'link up') world.linksUp = true;
        else if (event === 'forwarder dies') world.forwarderOf(forwarder).isDead = true;
        else if (event === 'forwarder lives') world.forwarderOf(forwarder).isDead = false;
        else if (event === 'one sends') one.tunnels.send(two.tunnels.publicKey);
        else if (event === 'two sends') two.tunnels.send(one.tunnels.publicKey);
        else if (a !== 'none') {
          moves += 1;
          one.host.address = `192.168.${100 + moves}.5`;
          one.host.router = world.udp.router({ address: `198.51.100.${moves}`, kind: a });
          one.addresses = [one.host.address];
        }
        await world.run(thenMs, 20);
      }
      world.udp.lose = () => false;
      world.linksUp = true;
      world.forwarderOf(forwarder).isDead = false;
      let steps = 0;
      const talk = (): void => {
        if (steps++ % 4 !== 0) return;
        one.tunnels.send(two.tunnels.publicKey);
        two.tunnels.send(one.tunnels.publicKey);
      };
      // A handshake that was lost is repeated after 5 s, by WireGuard; then one way or another carries packets.
      await world.run(20_000, 50, talk);
      const before = [one.arrived, two.arrived] as const;
      await world.run(2_000, 50, talk);
      assert.ok(
        one.arrived - before[0] >= 9,
        `to one: ${one.arrived - before[0]} of 10, ${JSON.stringify(stateOf(one, two))}`,
      );
      assert.ok(
        two.arrived - before[1] >= 9,
        `to two: ${two.arrived - before[1]} of 10, ${JSON.stringify(stateOf(two, one))}`,
      );
      const isDirect =
        a !== 'blocked' && b !== 'blocked' && (a === 'none' || b === 'none' || (a === 'eim' && b === 'eim'));
      // Tries come ever more rarely, but they come.
      if (isDirect && !both(one, two, 'direct')) await world.until(() => both(one, two, 'direct'), 700_000, talk);
      await world.stop();
      await world.run(100);
      assert.equal(one.tunnels.probes + two.tunnels.probes, 0, 'no probe is left behind');
    }),
    { numRuns: runs, endOnFailure: false },
  );
});
