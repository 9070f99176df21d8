import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryTunnels } from '@moat/wireguard';
import { Agent, Owner, until } from '../world.ts';

test('a member hears from its keeper which machine passes packets on', async () => {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(await Agent.start());
  const relay = stack.use(await Agent.start({ flags: { relay: true } }));
  const web = stack.use(await Agent.start({ tunnels: createMemoryTunnels() }));
  const owner = new Owner(home);
  const places = [owner.invited('web', 3), owner.invited('relay', 4)] as const;
  await owner.apply({
    network: { ipv4: '10.77.0.0/16', plane: 'auto' },
    members: [await owner.pinned('home', 2, home, { keeper: true }), ...places.map(({ member }) => member)],
    services: [{ name: 'db', on: ['home'], port: 5432, target: '127.0.0.1:5432', protocol: 'tcp' }],
    access: [{ from: ['web'], to: ['db'] }],
  });
  await relay.client.join({ token: await places[1].token() });
  await web.client.join({ token: await places[0].token() });
  await web.client.wireguardUp('shop', {});
  await until('web knows the relay', async () => (await web.client.netcheck('shop')).forwarders.includes('relay'));
  assert.deepEqual((await web.client.netcheck('shop')).forwarders, ['relay']);
});
