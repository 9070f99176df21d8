/**
 * A router that opens ports on request, by UPnP or NAT-PMP: Debian's miniupnpd, on routers that choose another port for each
 * destination. Who stands behind one is reached directly, by somebody behind another such router too.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { eventually } from '../e2e/machine.ts';
import { labSkip } from './internet.ts';
import { pictured } from './picture.ts';
import { OPENER_NET } from './port-opener.ts';
import { TunnelWorld } from './tunnel-world.ts';

/** Milliseconds for what time does not decide: a try that failed is repeated after half a minute. */
const WAIT_MS = 60_000;
const PROTOCOLS = ['upnp', 'nat-pmp'] as const;

suite('routers that open ports', { skip: labSkip('wg', 'wireguard-go', 'miniupnpd') }, () => {
  const world = new TunnelWorld();
  const { internet } = world;

  before(() =>
    world.start({
      members: {
        upnp: { nat: 'edm', opens: 'upnp' },
        'nat-pmp': { nat: 'edm', opens: 'nat-pmp' },
        far: { nat: 'edm' },
      },
    }),
  );
  after(() => world[Symbol.asyncDispose]());

  for (const name of PROTOCOLS) {
    test(`by ${name}: two symmetric routers, and a direct way`, (t) =>
      pictured(internet, `mapped-${name}`, async () => {
        const { nat, port, mapped, mappedBy } = await eventually(
          'a port is open',
          async () => {
            const report = await world.place(name).client.netcheck('lab');
            return report.mapped === null ? undefined : report;
          },
          WAIT_MS,
        );
        assert.deepEqual([nat, mappedBy], ['edm', name]);
        assert.ok(mapped?.startsWith(`${OPENER_NET}.`) && mapped.endsWith(`:${port}`), String(mapped));
        const since = performance.now();
        await eventually(
          'packets go directly',
          async () => (await world.ask('far', name)) === name && (await world.peer('far', name)).path === 'direct',
          WAIT_MS,
        );
        t.diagnostic(`direct ${(performance.now() - since).toFixed(0)} ms after the first packet`);
        assert.equal(await world.ask(name, 'far'), 'far');
      }));

    test(`by ${name}: the port outlives the agent, and goes with the interface`, () =>
      pictured(internet, `unmapped-${name}`, async () => {
        const { port } = await world.status(name);
        const isOpen = (): boolean => internet.opened(name).includes(`dport ${port} dnat`);
        assert.ok(isOpen());
        await world.place(name).daemon.kill('SIGTERM');
        assert.ok(isOpen());
        assert.equal(await world.ask('far', name), name);
        await world.restart(name);
        const isKnown = async (): Promise<boolean> => (await world.place(name).client.netcheck('lab')).mapped !== null;
        await eventually('it is known again', isKnown, WAIT_MS);
        assert.ok(isOpen());
        await world.place(name).client.wireguardDown('lab');
        assert.ok(!isOpen());
      }));
  }
});
