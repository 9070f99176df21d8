/** A gateway of one process that goes down: what it still takes, and what ends the wait. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { createGatewayClient } from '@moat/admin-api';
import { silent } from './member.ts';
import { Shop } from './shop.ts';
import { Node, gatewayPeer, get, home, started } from './whole-gateway.ts';

test('nothing new is taken, members hear why, and what is withdrawn ends at once', async () => {
  await using place = await home();
  await using node = new Node(silent);
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(place.config) });
  await using gateway = await started(place.config);
  const { addresses } = gateway;
  const client = createGatewayClient({ socketPath: addresses.adminSocket });
  assert.equal((await node.show(addresses, shop.bundle(shop.first))).ok, true);
  const running = get(addresses, 'shop.localhost');
  running.catch(() => undefined);
  const isRunning = async (): Promise<boolean> => (await client.status()).requestsInFlight === 1;
  for (const until = Date.now() + 5_000; !(await isRunning());) assert.ok(Date.now() < until);
  const [link] = node.links.list();
  assert.ok(link?.leaving !== undefined);
  const told = once(link.leaving, 'abort');

  const drained = gateway.drain(20_000);
  const { draining } = await client.status();
  assert.ok(draining !== null && Date.parse(draining.until) > Date.now());
  const knock = connect(addresses.httpsPort, '127.0.0.1');
  await assert.rejects(once(knock, 'connect'), { code: 'ECONNREFUSED' });
  const answer = await node.show(addresses, shop.bundle(shop.first));
  assert.equal(answer.ok || answer.code, 'GATEWAY_STOPPING');
  // The link says so too, once whoever was let in has found its member.
  await told;
  assert.equal(link.closed.aborted, false, 'the request still runs over it');
  const withdrawn = shop.publishing(shop.first, []);
  await node.show(addresses, shop.bundle(withdrawn));
  await drained;
  const { status, text } = await running;
  assert.deepEqual([status, text.includes('NAME_WITHDRAWN')], [404, true]);
});
